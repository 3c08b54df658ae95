//! The archive: a tar file, compressed, that says itself what is in it and what is missing.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::redact::Redactor;

/// Most bytes of a file; the rest of it is cut off.
const FILE: usize = 16 << 20;
/// Most bytes of all files together.
const ALL: usize = 256 << 20;
/// The folder in it.
const FOLDER: &str = "meshctl-bug-report";

/// Files by path, without secrets.
#[derive(Debug)]
pub(super) struct Files {
    redactor: Redactor,
    all: BTreeMap<String, String>,
    size: usize,
    /// What could not be had, and why.
    pub(super) missing: Vec<String>,
}

impl Files {
    pub(super) const fn new(redactor: Redactor) -> Self {
        Self { redactor, all: BTreeMap::new(), size: 0, missing: Vec::new() }
    }

    /// Adds a file, or what follows of one. Parts of its path are kept only as far as they are names.
    pub(super) fn add(&mut self, path: &[&str], content: &str) {
        let path = path.iter().map(|part| name(part)).collect::<Vec<_>>().join("/");
        let text = self.redactor.file(&path, content);
        let cut = text.floor_char_boundary(FILE);
        let text = match text.get(..cut) {
            Some(kept) if cut < text.len() => format!("{kept}\n[cut off after {cut} bytes]\n"),
            Some(_) | None => text,
        };
        if self.size + text.len() > ALL {
            self.missing.push(format!("{path}: the report is too large already"));
            return;
        }
        self.size += text.len();
        self.all.insert(path, text);
    }

    /// Notes what could not be had. What a failure says may have secrets in it, too.
    pub(super) fn miss(&mut self, what: &str, why: &str) {
        self.missing.push(self.redactor.text(&format!("{what}: {why}")));
    }

    /// The archive.
    fn write(&self, to: impl Write, time: u64) -> io::Result<()> {
        let mut archive = Builder::new(GzEncoder::new(to, Compression::default()));
        for (path, text) in &self.all {
            let mut header = Header::new_gnu();
            header.set_size(u64::try_from(text.len()).unwrap_or(u64::MAX));
            header.set_mode(0o600);
            header.set_mtime(time);
            archive.append_data(&mut header, format!("{FOLDER}/{path}"), text.as_bytes())?;
        }
        archive.into_inner()?.finish()?.flush()
    }

    /// Writes it to a new file, for this user alone, or to standard output. A file that is there
    /// stays as it is.
    pub(super) fn save(&self, file: &Path, time: u64) -> io::Result<()> {
        if file == Path::new("-") {
            return self.write(io::stdout().lock(), time);
        }
        let mut options = OpenOptions::new();
        let to = options.write(true).create_new(true).mode(0o600).open(file)?;
        self.write(io::BufWriter::new(to), time)
    }
}

/// A part of a path that leads nowhere else.
fn name(part: &str) -> String {
    let safe = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_');
    let name: String = part.chars().map(|it| if safe(it) { it } else { '_' }).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "_".to_owned() } else { name.chars().take(100).collect() }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn what_goes_in_comes_out_without_secrets_and_below_one_folder() {
        let mut files = Files::new(Redactor::new(false));
        files.add(&["nodes", "../n1", "a.txt"], "password=hunter2\n");
        files.add(&["README.txt"], "hello\n");
        files.miss("node n2", "http://u:p@h is away");
        assert_eq!(files.missing, ["node n2: http://[redacted]@h is away"]);
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("x.tar.gz");
        files.save(&path, 7).expect("written");
        let error = files.save(&path, 7).expect_err("it is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let mut archive =
            tar::Archive::new(GzDecoder::new(std::fs::File::open(&path).expect("open")));
        let mut found = Vec::new();
        for entry in archive.entries().expect("entries") {
            let mut entry = entry.expect("entry");
            let name = entry.path().expect("path").display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            found.push((name, text));
        }
        let expected = [
            ("meshctl-bug-report/README.txt", "hello\n"),
            ("meshctl-bug-report/nodes/_n1/a.txt", "password=[redacted]\n"),
        ];
        assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_giant_is_cut_off() {
        let mut files = Files::new(Redactor::new(false));
        files.add(&["big.txt"], &"é\n".repeat(FILE / 2));
        let size = files.all.values().map(String::len).sum::<usize>();
        assert!((FILE..FILE + 100).contains(&size), "{size}");
    }
}
