//! One file of the repository, read and split once for all checks.

use std::path::Path;

use super::lexer::{self, Lexed};

/// A breach of a rule, with the way to mend it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Violation {
    /// Path from the root of the repository.
    pub(super) path: String,
    /// From 1.
    pub(super) line: usize,
    /// What is wrong and what to do.
    pub(super) message: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// A text file.
#[derive(Debug)]
pub(super) struct Source {
    /// Path from the root, with `/`.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
    lexed: Lexed,
    /// The line on which tests begin, if the file has any.
    tests_from: usize,
}

impl Source {
    /// Splits Rust files into code and the rest.
    pub(super) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let lexed = if is_rust(&path) { lexer::lex(&text) } else { Lexed::default() };
        let tests_from = if is_test_path(&path) { 1 } else { tests_from(&lexed.code) };
        Self { path, text, lexed, tests_from }
    }

    /// Is it Rust?
    pub(super) fn is_rust(&self) -> bool {
        is_rust(&self.path)
    }

    /// Is it Markdown?
    pub(super) fn is_markdown(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "md")
    }

    /// Does the path begin with one of these? A prefix ends at a path's end, a `/` or a `.`, or
    /// is written with one.
    pub(super) fn is_in(&self, prefixes: &[&str]) -> bool {
        prefixes.iter().any(|prefix| {
            self.path.strip_prefix(prefix).is_some_and(|rest| {
                prefix.ends_with('/') || rest.is_empty() || rest.starts_with(['/', '.'])
            })
        })
    }

    /// Code without comments and literals, up to the first test: line number and text.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.all_code().take_while(|&(line, _)| line < self.tests_from)
    }

    /// The same with the tests.
    pub(super) fn all_code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.lexed.code.lines())
    }

    /// String literals outside tests.
    pub(super) fn literals(&self) -> impl Iterator<Item = (usize, &str)> {
        let literals = self.lexed.literals.iter().filter(|&&(line, _)| line < self.tests_from);
        literals.map(|(line, text)| (*line, text.as_str()))
    }

    /// A breach in this file.
    pub(super) fn violation(&self, line: usize, message: impl Into<String>) -> Violation {
        Violation { path: self.path.clone(), line, message: message.into() }
    }
}

/// Is `word` in `code`, not as a part of a longer identifier?
pub(super) fn has_word(code: &str, word: &str) -> bool {
    let part_of_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (first, last) = (word.chars().next(), word.chars().next_back());
    code.match_indices(word).any(|(at, _)| {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        let after = code.get(at + word.len()..).and_then(|text| text.chars().next());
        let continued = part_of_name(last) && part_of_name(after);
        !(continued || part_of_name(first) && part_of_name(before))
    })
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// Files that hold nothing but tests.
fn is_test_path(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// In-file tests stand at the end, as `#[cfg(test)] mod tests {`.
fn tests_from(code: &str) -> usize {
    let lines: Vec<_> = code.lines().map(str::trim).collect();
    lines
        .windows(2)
        .position(|pair| match pair {
            [first, second] => {
                *first == "#[cfg(test)]" && second.starts_with("mod ") && second.ends_with('{')
            }
            _ => false,
        })
        .map_or(usize::MAX, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        assert!(has_word("use aya::maps;", "aya"));
        assert!(!has_word("use aya_ebpf::maps;", "aya"));
        assert!(has_word("tokio::spawn(x)", "spawn("));
        assert!(!has_word("respawn(x)", "spawn("));
        assert!(has_word("f().await?", ".await"));
    }

    #[test]
    fn prefixes_end_at_a_part_of_the_path() {
        let source = Source::new("mesh-agent/src/diff.rs", "");
        assert!(source.is_in(&["mesh-agent/src/diff"]));
        assert!(source.is_in(&["mesh-agent/"]));
        assert!(!source.is_in(&["mesh-agent/src/di"]));
    }

    #[test]
    fn tests_at_the_end_are_not_code() {
        let source = Source::new("a.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n spawn(\"x\") }\n");
        assert_eq!(source.code().count(), 1);
        assert_eq!(source.literals().count(), 0);
        assert_eq!(source.all_code().count(), 4);
    }

    #[test]
    fn a_module_declaration_of_tests_ends_nothing() {
        let source = Source::new("a.rs", "#[cfg(test)]\nmod tests;\nfn f() {}\n");
        assert_eq!(source.code().count(), 3);
    }
}
