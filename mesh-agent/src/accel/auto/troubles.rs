//! What goes wrong again and again is said once, until something else does or it goes well. Pure.

use std::collections::BTreeMap;

/// What can go wrong, each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// To see what there is.
    Look,
    /// To write that a client is accelerated.
    Grant,
    /// To write that it is not any more.
    Withdraw,
    /// To compare the map with what is granted.
    Agree,
}

/// What has gone wrong last.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    last: BTreeMap<Task, String>,
}

impl Troubles {
    /// What came of a task: the trouble, if it is to be said.
    pub(super) fn hear<T, E: ToString>(
        &mut self,
        task: Task,
        outcome: &Result<T, E>,
    ) -> Option<&str> {
        let Err(error) = outcome else {
            self.last.remove(&task);
            return None;
        };
        let text = error.to_string();
        if self.last.get(&task) == Some(&text) {
            return None;
        }
        self.last.insert(task, text);
        self.last.get(&task).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_said_once_until_it_changes_or_ends() {
        let mut troubles = Troubles::default();
        let full: Result<(), _> = Err("it is full");
        assert_eq!(troubles.hear(Task::Grant, &full), Some("it is full"));
        // The looks in between go well.
        assert_eq!(troubles.hear::<_, &str>(Task::Look, &Ok(())), None);
        assert_eq!(troubles.hear(Task::Grant, &full), None);
        // So do other tasks go wrong on their own.
        assert_eq!(troubles.hear(Task::Withdraw, &full), Some("it is full"));
        assert_eq!(troubles.hear(Task::Grant, &full), None);
        let other: Result<(), _> = Err("it is gone");
        assert_eq!(troubles.hear(Task::Grant, &other), Some("it is gone"));
        assert_eq!(troubles.hear(Task::Grant, &full), Some("it is full"));
        assert_eq!(troubles.hear::<_, &str>(Task::Grant, &Ok(())), None);
        assert_eq!(troubles.hear(Task::Grant, &full), Some("it is full"));
    }
}
