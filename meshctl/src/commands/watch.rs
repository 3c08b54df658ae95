//! `get --watch`: what is there, then every change, over lost connections too.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::manifest::{Manifest, to_yaml};
use mesh_api::wire;
use mesh_api::wire::watch_event::Event;
use serde::Serialize;

use super::get::Selection;
use super::stay::{message, stay};
use crate::client::{Client, Context};
use crate::failure::Failure;
use crate::output::objects::Columns;
use crate::output::table::Table;
use crate::output::{Format, emit};
use crate::target::word;

pub(super) async fn run(context: &Context, selection: &Selection) -> Result<(), Failure> {
    let mut printer = Printer::new(context, selection);
    let mut view = View::new(&selection.target.names);
    stay(context, async |client| follow(client, selection, &mut view, &mut printer).await).await
}

/// Prints until the stream ends; always returns an error.
async fn follow(
    client: &mut Client,
    selection: &Selection,
    view: &mut View,
    printer: &mut Printer<'_>,
) -> Result<(), Failure> {
    let request = wire::WatchRequest {
        kinds: vec![wire::Kind::from(selection.target.kind).into()],
        namespace: selection.namespace.clone(),
        from_revision: view.revision,
    };
    let mut stream = client.watch(request).await?;
    loop {
        let event = message(client, &mut stream).await?;
        printer.print(view.on(event))?;
    }
}

type Key = (String, String);

/// What has been shown, so that after a resync only differences are.
#[derive(Debug)]
struct View {
    names: Vec<String>,
    /// All changes up to here have been seen.
    revision: u64,
    known: BTreeMap<Key, wire::Object>,
    /// During a resync: what has come again, and the changes held back until its end.
    resync: Option<(BTreeSet<Key>, Vec<Change>)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Change {
    what: What,
    object: wire::Object,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Added,
    Modified,
    Deleted,
}

impl What {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

impl View {
    fn new(names: &[String]) -> Self {
        Self { names: names.to_vec(), revision: 0, known: BTreeMap::new(), resync: None }
    }

    /// The changes to show; those of a resync come together at its end.
    fn on(&mut self, event: wire::WatchEvent) -> Vec<Change> {
        let wire::WatchEvent { revision, event } = event;
        let changes = match event {
            Some(Event::Put(object)) => self.put(object).into_iter().collect(),
            Some(Event::Deleted(object)) => {
                let gone = self.known.remove(&(object.namespace, object.name));
                gone.map(deleted).into_iter().collect()
            }
            Some(Event::Resync(wire::Resync {})) => {
                self.resync = Some((BTreeSet::new(), Vec::new()));
                return Vec::new();
            }
            Some(Event::Bookmark(wire::Bookmark {})) => {
                self.revision = self.revision.max(revision);
                return self.end_resync();
            }
            None => Vec::new(),
        };
        if let Some((_, held)) = &mut self.resync {
            held.extend(changes);
            return Vec::new();
        }
        self.revision = self.revision.max(revision);
        changes
    }

    fn put(&mut self, object: wire::Object) -> Option<Change> {
        let metadata = object.metadata.as_ref()?;
        if !self.names.is_empty() && !self.names.contains(&metadata.name) {
            return None;
        }
        let key = (metadata.namespace.clone(), metadata.name.clone());
        if let Some((again, _)) = &mut self.resync {
            again.insert(key.clone());
        }
        let what = match self.known.insert(key, object.clone()) {
            None => What::Added,
            Some(before) if before == object => return None,
            Some(_) => What::Modified,
        };
        Some(Change { what, object })
    }

    fn end_resync(&mut self) -> Vec<Change> {
        let Some((again, mut changes)) = self.resync.take() else {
            return Vec::new();
        };
        let gone: Vec<_> = self.known.keys().filter(|key| !again.contains(key)).cloned().collect();
        let gone = gone.iter().filter_map(|key| self.known.remove(key));
        changes.extend(gone.map(deleted));
        changes
    }
}

const fn deleted(object: wire::Object) -> Change {
    Change { what: What::Deleted, object }
}

/// Changes in the format asked for.
struct Printer<'a> {
    context: &'a Context,
    columns: Columns,
    table: Table,
}

impl<'a> Printer<'a> {
    fn new(context: &'a Context, selection: &Selection) -> Self {
        let all = selection.namespace.is_empty();
        let columns = Columns::of(selection.target.kind, all, context.format);
        let mut heading = vec!["EVENT"];
        heading.extend(columns.heading());
        Self { context, columns, table: Table::new(&heading) }
    }

    fn print(&mut self, changes: Vec<Change>) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for Change { what, object } in changes {
            match self.context.format {
                Format::Table | Format::Wide => {
                    let mut row = vec![what.as_str().to_owned()];
                    row.extend(self.columns.row(&object));
                    self.table.row(row);
                }
                Format::Json => {
                    text.push_str(&serde_json::to_string(&JsonEvent {
                        event: what.as_str(),
                        object: Manifest(&object),
                    })?);
                    text.push('\n');
                }
                Format::Yaml => {
                    text = format!("{text}---\n# {}\n{}", what.as_str(), to_yaml(&object)?);
                }
                Format::Name => {
                    let name = object.metadata.map(|metadata| metadata.name);
                    let name = name.unwrap_or_default();
                    text = format!("{text}{}/{name}\n", word(self.columns.kind));
                }
            }
        }
        if matches!(self.context.format, Format::Table | Format::Wide) {
            text = self.table.render(self.context.style);
        }
        emit(&text)
    }
}

/// One line of a watch in JSON.
#[derive(Serialize)]
struct JsonEvent<'a> {
    event: &'static str,
    object: Manifest<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, revision: u64) -> wire::Object {
        wire::Object {
            metadata: Some(wire::Metadata {
                namespace: "default".to_owned(),
                name: name.to_owned(),
                resource_version: revision,
                ..wire::Metadata::default()
            }),
            spec: None,
        }
    }

    fn on(view: &mut View, revision: u64, event: Event) -> Vec<(What, u64)> {
        let event = Some(event);
        let changes = view.on(wire::WatchEvent { revision, event });
        let version = |object: wire::Object| object.metadata.unwrap_or_default().resource_version;
        changes.into_iter().map(|it| (it.what, version(it.object))).collect()
    }

    #[test]
    fn a_resync_shows_only_what_differs_from_what_was_shown() {
        let mut view = View::new(&[]);
        assert_eq!(on(&mut view, 3, Event::Resync(wire::Resync {})), []);
        assert_eq!(on(&mut view, 3, Event::Put(object("a", 1))), []);
        assert_eq!(on(&mut view, 3, Event::Put(object("b", 2))), []);
        let bookmark = || Event::Bookmark(wire::Bookmark {});
        assert_eq!(on(&mut view, 3, bookmark()), [(What::Added, 1), (What::Added, 2)]);
        assert_eq!(on(&mut view, 4, Event::Put(object("b", 4))), [(What::Modified, 4)]);
        assert_eq!(view.revision, 4);

        on(&mut view, 9, Event::Resync(wire::Resync {}));
        // A connection lost here must not skip what has not come yet.
        assert_eq!(view.revision, 4);
        on(&mut view, 9, Event::Put(object("b", 4)));
        on(&mut view, 9, Event::Put(object("c", 9)));
        assert_eq!(on(&mut view, 9, bookmark()), [(What::Added, 9), (What::Deleted, 1)]);
        assert_eq!(view.revision, 9);
    }

    #[test]
    fn only_the_names_asked_for_are_shown() {
        let mut view = View::new(&["a".to_owned()]);
        assert_eq!(on(&mut view, 1, Event::Put(object("b", 1))), []);
        assert_eq!(on(&mut view, 2, Event::Put(object("a", 2))), [(What::Added, 2)]);
        let gone = |name: &str| {
            Event::Deleted(crate::target::reference(
                mesh_api::model::Kind::Service,
                "default",
                name,
            ))
        };
        assert_eq!(on(&mut view, 3, gone("b")), []);
        assert_eq!(on(&mut view, 4, gone("a")), [(What::Deleted, 2)]);
    }
}
