//! Colours, where they are wanted.

use anstyle::{AnsiColor, Effects};
use std::fmt;

/// The colours of the text output. Without colour every method returns the text as it is.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    color: bool,
}

/// A text with its colour.
#[derive(Debug, Clone, Copy)]
pub struct Painted<'t> {
    text: &'t str,
    style: anstyle::Style,
}

impl Style {
    /// Text with colours, or without.
    #[must_use]
    pub fn new(color: bool) -> Self {
        Self { color }
    }

    /// Whether there are colours, which is where pictures made of letters may be drawn too.
    #[must_use]
    pub fn is_colored(self) -> bool {
        self.color
    }

    /// What went well.
    #[must_use]
    pub fn good(self, text: &str) -> Painted<'_> {
        self.paint(text, AnsiColor::Green.on_default().effects(Effects::BOLD))
    }

    /// What is wrong.
    #[must_use]
    pub fn bad(self, text: &str) -> Painted<'_> {
        self.paint(text, AnsiColor::Red.on_default().effects(Effects::BOLD))
    }

    /// What to take note of.
    #[must_use]
    pub fn caution(self, text: &str) -> Painted<'_> {
        self.paint(text, AnsiColor::Yellow.on_default().effects(Effects::BOLD))
    }

    /// Headings.
    #[must_use]
    pub fn heading(self, text: &str) -> Painted<'_> {
        self.paint(text, anstyle::Style::new().effects(Effects::BOLD))
    }

    /// What matters less.
    #[must_use]
    pub fn faint(self, text: &str) -> Painted<'_> {
        self.paint(text, anstyle::Style::new().effects(Effects::DIMMED))
    }

    fn paint(self, text: &str, style: anstyle::Style) -> Painted<'_> {
        Painted {
            text,
            style: if self.color {
                style
            } else {
                anstyle::Style::new()
            },
        }
    }
}

impl fmt::Display for Painted<'_> {
    /// Pads by the text's width, not by that of the escape codes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.style)?;
        f.pad(self.text)?;
        write!(f, "{:#}", self.style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_off_unless_asked_for() {
        assert_eq!(
            format!("[{:<6}]", Style::new(false).good("PASS")),
            "[PASS  ]"
        );
        assert_eq!(
            format!("{:<6}", Style::new(true).good("PASS")),
            "\u{1b}[1m\u{1b}[32mPASS  \u{1b}[0m"
        );
    }
}
