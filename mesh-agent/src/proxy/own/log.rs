//! What Envoy logs, passed on to the agent's log. It goes through a file, because Envoy goes on
//! writing while no agent runs.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

/// From this size on, the file is emptied once it has been read.
const LONG: u64 = 8 << 20;
/// Most bytes that are read at once.
const PART: u64 = 64 << 10;

/// The file, and how far it has been read.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    at: u64,
}

impl Log {
    /// Passes on what is written from now on.
    pub(super) fn at_end(path: PathBuf) -> Self {
        let at = path.metadata().map_or(0, |metadata| metadata.len());
        Self { path, at }
    }

    /// Passes on what is new. The file may be absent.
    pub(super) fn pass_on(&mut self) {
        let lines = match self.lines() {
            Ok(lines) => lines,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::debug!(%error, "the log of Envoy cannot be read");
                return;
            }
        };
        for line in lines.lines().filter(|line| !line.is_empty()) {
            match level(line) {
                "error" | "critical" => tracing::error!("Envoy: {line}"),
                "warning" | "" => tracing::warn!("Envoy: {line}"),
                _ => tracing::info!("Envoy: {line}"),
            }
        }
    }

    /// All whole lines that are new.
    fn lines(&mut self) -> io::Result<String> {
        let length = self.path.metadata()?.len();
        if length < self.at {
            self.at = 0;
        }
        if length == self.at {
            if length > LONG {
                // It is written to at its end, wherever that is.
                OpenOptions::new().write(true).open(&self.path)?.set_len(0)?;
            }
            return Ok(String::new());
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        file.take(PART).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
        // A line that is longer than all that is read comes in parts.
        let full = u64::try_from(bytes.len()).is_ok_and(|read| read == PART);
        bytes.truncate(whole.unwrap_or(if full { bytes.len() } else { 0 }));
        self.at = self.at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The level in `[time][thread][level][logger] text`; empty where it is something else.
fn level(line: &str) -> &str {
    let mut parts = line.split("][");
    if line.starts_with('[') { parts.nth(2).unwrap_or_default() } else { "" }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_come_whole_and_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::at_end(path.clone());
        log.lines().unwrap_err();
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        file.write_all(b"one\ntwo\nthr").unwrap();
        assert_eq!(log.lines().unwrap(), "one\ntwo\n");
        assert_eq!(log.lines().unwrap(), "");
        file.write_all(b"ee\n").unwrap();
        assert_eq!(log.lines().unwrap(), "three\n");
        file.set_len(0).unwrap();
        file.write_all(b"four\n").unwrap();
        assert_eq!(log.lines().unwrap(), "four\n");
    }

    #[test]
    fn a_long_file_is_emptied_and_a_long_line_does_not_stop_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, vec![b'x'; usize::try_from(LONG + PART).unwrap()]).unwrap();
        let mut log = Log { path: path.clone(), at: 0 };
        while !log.lines().unwrap().is_empty() {}
        assert_eq!(path.metadata().unwrap().len(), 0);
    }

    #[test]
    fn levels_are_envoys() {
        let line = "[2026-11-24 00:25:40.566][2670][warning][config] [source/a.cc:1] no";
        assert_eq!(level(line), "warning");
        assert_eq!(level("libc++abi: terminating"), "");
    }
}
