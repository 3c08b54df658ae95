//! Reads what test programs print. Only the stable, human form is used: the JSON one is unstable.

use std::io::{self, Read, Write};

/// Sums over `test result:` lines.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Tests that passed.
    pub(super) passed: u64,
    /// Tests that failed.
    pub(super) failed: u64,
    /// Tests that did not run although they are there.
    pub(super) ignored: u64,
    /// Tests whose name has the word that marks them as not touching the kernel.
    pub(super) not_kernel: u64,
}

/// Copies `from` to `to` as it comes (a test that hangs shows its name), and counts.
pub(super) fn stream(
    mut from: impl Read,
    to: &mut impl Write,
    not_kernel: &str,
) -> io::Result<Counts> {
    let mut counts = Counts::default();
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = match from.read(&mut chunk) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = chunk.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            counts.see(&String::from_utf8_lossy(&line), not_kernel);
            return Ok(counts);
        }
        to.write_all(bytes)?;
        to.flush()?;
        for &byte in bytes {
            if byte == b'\n' {
                counts.see(&String::from_utf8_lossy(&line), not_kernel);
                line.clear();
            } else {
                line.push(byte);
            }
        }
    }
}

impl Counts {
    fn see(&mut self, line: &str, not_kernel: &str) {
        if let Some(name) = line.strip_prefix("test ") {
            let name = name.split(" ... ").next().unwrap_or_default();
            if line.contains(" ... ") && name.contains(not_kernel) {
                self.not_kernel += 1;
            }
        }
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        // "ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s"
        let numbers = result.split_once(". ").map_or(result, |(_, numbers)| numbers);
        for part in numbers.split("; ") {
            let Some((number, what)) = part.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\nrunning 3 tests\ntest golden::memory::split ... ok\n\
        test golden::kernel::split ... ok\ntest restart ... FAILED\n\nfailures:\n\n\
        test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; \
        finished in 0.12s\n\n\nrunning 1 test\ntest a ... ignored\n\n\
        test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";

    #[test]
    fn sums_results_and_passes_the_output_on() {
        let mut seen = Vec::new();
        let counts = stream(OUTPUT.as_bytes(), &mut seen, "memory").unwrap();
        assert_eq!(counts, Counts { passed: 2, failed: 1, ignored: 1, not_kernel: 1 });
        assert_eq!(seen, OUTPUT.as_bytes());
    }

    #[test]
    fn a_test_that_talks_of_results_is_not_counted() {
        let counts =
            stream("note: test result: ok. 9 passed; 0 failed\n".as_bytes(), &mut Vec::new(), "-");
        assert_eq!(counts.unwrap(), Counts::default());
    }
}
