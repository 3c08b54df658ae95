//! Globs over cgroups and network namespaces, as flags give them.

use std::fmt;
use std::str::FromStr;

use glob::{MatchOptions, Pattern};

/// `*` and `?` stop at `/`, as in a shell; `**` does not.
const PATHS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Why a text is not a glob. Positions are in characters, from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// Nothing there.
    #[error("position 1: an empty glob matches nothing")]
    Empty,
    /// A path that does not begin at the root.
    #[error(
        "position 1: begin with `/`, the root of cgroup v2, as in /system.slice/nginx.service; \
         or with `**/` for any place"
    )]
    NotAbsolute,
    /// An empty part, `.` or `..`.
    #[error("position {position}: {part:?} is no name of a cgroup, this can never match")]
    Part {
        /// Where the part begins.
        position: usize,
        /// The part.
        part: String,
    },
    /// The library refuses it.
    #[error("position {position}: {message}")]
    Syntax {
        /// Where.
        position: usize,
        /// What is wrong.
        message: &'static str,
    },
}

/// A glob over paths of cgroups from the root of cgroup v2: `/system.slice/nginx.service`,
/// `/kubepods.slice/**`, `**/nginx.service`. It covers what it matches and all below.
#[derive(Clone, PartialEq, Eq)]
pub struct CgroupGlob {
    text: String,
    pattern: Pattern,
}

impl CgroupGlob {
    /// Whether it matches this path itself (not only one above). The root is `/`.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        // `/*` means the children of the root.
        if path == "/" { self.text == "/" } else { self.pattern.matches_with(path, PATHS) }
    }
}

impl FromStr for CgroupGlob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        if !text.starts_with('/') && !text.starts_with("**/") {
            return Err(GlobError::NotAbsolute);
        }
        let trimmed = match text.trim_end_matches('/') {
            "" => "/",
            trimmed => trimmed,
        };
        let mut position = 1;
        for (index, part) in trimmed.split('/').enumerate() {
            let is_root = index == 0 || trimmed == "/";
            if (part.is_empty() && !is_root) || part == "." || part == ".." {
                return Err(GlobError::Part { position, part: part.to_owned() });
            }
            position += part.chars().count() + 1;
        }
        let pattern = compile(trimmed)?;
        Ok(Self { text: trimmed.to_owned(), pattern })
    }
}

/// A glob over the names of network namespaces: the file name of a bind mount (`blue-*` for
/// `/run/netns/blue-1`), or `net:[INODE]`, where the brackets stand for themselves.
#[derive(Clone, PartialEq, Eq)]
pub struct NetnsGlob {
    text: String,
    pattern: Pattern,
}

impl NetnsGlob {
    /// Whether it matches one of the names of a namespace.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.pattern.matches_with(name, PATHS)
    }
}

impl FromStr for NetnsGlob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        let inode = text.strip_prefix("net:[").and_then(|rest| rest.strip_suffix(']'));
        let pattern = match inode {
            Some(inode) => compile(&format!("net:[[]{inode}[]]"))?,
            None => compile(text)?,
        };
        Ok(Self { text: text.to_owned(), pattern })
    }
}

fn compile(text: &str) -> Result<Pattern, GlobError> {
    Pattern::new(text)
        .map_err(|error| GlobError::Syntax { position: error.pos + 1, message: error.msg })
}

impl fmt::Display for CgroupGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for NetnsGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for CgroupGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Debug for NetnsGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
