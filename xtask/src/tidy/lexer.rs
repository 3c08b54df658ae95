//! Splits Rust source into what the compiler acts on and what it doesn't, so that a word in a
//! comment or a message is not taken for a use of it.

/// Source with comments and the contents of literals blanked; lines and columns stay.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lexed {
    /// The blanked source.
    pub(super) code: String,
    /// String literals: line (from 1) and contents, escapes as written.
    pub(super) literals: Vec<(usize, String)>,
}

/// Goes through the source once.
pub(super) fn lex(source: &str) -> Lexed {
    let mut lexer = Lexer { rest: source, line: 1, out: Lexed::default() };
    while let Some(next) = lexer.rest.chars().next() {
        lexer.token(next);
    }
    lexer.out
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    out: Lexed,
}

impl Lexer<'_> {
    fn token(&mut self, next: char) {
        if self.rest.starts_with("//") {
            self.blank(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.blank(block_comment(self.rest));
        } else if let Some(fence) = raw_fence(self.rest) {
            self.keep(fence.prefix);
            let close = format!("\"{}", "#".repeat(fence.hashes));
            let end = self.rest.find(&close).unwrap_or(self.rest.len());
            self.literal(end);
            self.keep(close.len().min(self.rest.len()));
        } else if next == '"' {
            self.keep(1);
            self.literal(string_end(self.rest, '"'));
            self.keep(self.rest.len().min(1));
        } else if let Some(length) = char_literal(self.rest) {
            self.blank(length);
        } else if next.is_alphanumeric() || next == '_' {
            let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            self.keep(end.unwrap_or(self.rest.len()));
        } else {
            self.keep(next.len_utf8());
        }
    }

    fn keep(&mut self, length: usize) {
        let text = self.take(length);
        self.out.code.push_str(text.as_str());
    }

    fn blank(&mut self, length: usize) {
        let text = self.take(length);
        self.out.code.extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    }

    fn literal(&mut self, length: usize) {
        let text = self.rest.get(..length).unwrap_or_default().to_owned();
        self.out.literals.push((self.line, text));
        self.blank(length);
    }

    fn take(&mut self, length: usize) -> String {
        let (text, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += text.matches('\n').count();
        text.to_owned()
    }
}

struct Fence {
    prefix: usize,
    hashes: usize,
}

/// `r"`, `r#"`, `br##"`: how long the opening is and how many hashes close it.
fn raw_fence(rest: &str) -> Option<Fence> {
    let after = ["r", "br", "cr"].iter().find_map(|start| rest.strip_prefix(start))?;
    let quote = after.trim_start_matches('#').strip_prefix('"')?;
    let hashes = after.len() - quote.len() - 1;
    Some(Fence { prefix: rest.len() - quote.len(), hashes })
}

/// Bytes up to the closing quote, which an escape can hide.
fn string_end(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    rest.char_indices()
        .find(|&(_, c)| {
            let end = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            end
        })
        .map_or(rest.len(), |(at, _)| at)
}

/// The length of `'x'` or `'\n'`; a lifetime is none.
fn char_literal(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('\'')?;
    let first = after.chars().next()?;
    if first == '\\' {
        return Some(1 + string_end(after, '\'') + 1);
    }
    after.get(first.len_utf8()..)?.starts_with('\'').then(|| first.len_utf8() + 2)
}

/// The length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> String {
        lex(source).code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_vanish_and_lines_stay() {
        let lexed = lex("a // spawn(\n/* x /* y */\n z */ b\n");
        assert_eq!(lexed.code.lines().count(), 3);
        assert_eq!(code("a // spawn(\n/* x /* y */\n z */ b\n"), "a b");
    }

    #[test]
    fn strings_are_kept_apart() {
        let lexed = lex("f(\"a\\\"b\");\ng(r#\"c\"d\"#, b\"e\");");
        let expected = [(1, "a\\\"b".to_owned()), (2, "c\"d".to_owned()), (2, "e".to_owned())];
        assert_eq!(lexed.literals, expected);
    }

    #[test]
    fn quotes_in_chars_and_lifetimes_do_not_open_strings() {
        assert_eq!(code("let c = '\"'; spawn()"), "let c = ; spawn()");
        assert_eq!(code("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
        assert_eq!(code("let q = '\\''; x"), "let q = ; x");
    }

    #[test]
    fn an_identifier_that_ends_in_r_is_no_raw_string() {
        assert_eq!(lex("for\"x\"").literals, [(1, "x".to_owned())]);
    }

    #[test]
    fn an_unfinished_string_ends_with_the_file() {
        assert_eq!(lex("\"abc").literals, [(1, "abc".to_owned())]);
    }
}
