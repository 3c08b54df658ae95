//! Colours, for terminals only.

use std::io::{self, IsTerminal as _};

/// What a piece of text says beside its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be; a line that is added.
    Good,
    /// Not as it should be; a line that is removed.
    Bad,
    /// Where something is.
    Place,
}

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    /// No colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colour: false };

    /// Colours where standard output is a terminal and nobody objects (<https://no-color.org>).
    pub(crate) fn detect(no_color: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colour: !no_color && !set("NO_COLOR") && !dumb && io::stdout().is_terminal() }
    }

    /// Whether there are colours.
    pub(crate) const fn colour(self) -> bool {
        self.colour
    }

    /// The text, coloured by its tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => 32,
            Tone::Bad => 31,
            Tone::Place => 36,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}
