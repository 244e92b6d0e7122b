//! What a section of the file asks of the host, and what the answers lead to.

use std::fmt::Display;

use crate::checks::validate::Judged;

/// One thing that the file says.
struct Question {
    key: &'static str,
    expected: String,
    /// `None` where the host does not tell.
    found: Option<String>,
    agrees: bool,
    /// Where it was found.
    source: String,
}

/// The questions of one check.
#[derive(Default)]
pub(super) struct Questions(Vec<Question>);

impl Questions {
    /// Asks, if the file says something.
    pub(super) fn ask<E, F: Display>(
        &mut self,
        key: &'static str,
        expected: Option<E>,
        found: Option<F>,
        source: impl Into<String>,
        agrees: impl FnOnce(&E, &F) -> bool,
    ) where
        E: Display,
    {
        let Some(expected) = expected else { return };
        self.0.push(Question {
            key,
            agrees: found.as_ref().is_some_and(|found| agrees(&expected, found)),
            expected: expected.to_string(),
            found: found.map(|found| found.to_string()),
            source: source.into(),
        });
    }

    /// What the answers lead to; `None` if nothing was asked.
    pub(super) fn judged(self, remedy: &str) -> Option<Judged> {
        let all = self.0;
        if all.is_empty() {
            return None;
        }
        let differs = |it: &&Question| it.found.is_some() && !it.agrees;
        let is_open = |it: &&Question| it.found.is_none();
        let said = |chosen: Vec<&Question>, say: fn(&Question) -> String| {
            chosen.into_iter().map(say).collect::<Vec<_>>().join("; ")
        };
        let wrong: Vec<&Question> = all.iter().filter(differs).collect();
        let open: Vec<&Question> = all.iter().filter(is_open).collect();
        if wrong.is_empty() && open.is_empty() {
            return Some(Judged::pass(said(all.iter().collect(), |it| {
                format!("{} {}", it.key, it.found.as_deref().unwrap_or_default())
            })));
        }
        let judged = if wrong.is_empty() {
            Judged::skip(said(open, |it| {
                format!(
                    "the host does not tell {} ({} is expected)",
                    it.key, it.expected
                )
            }))
        } else {
            let text = said(wrong, |it| {
                let found = it.found.as_deref().unwrap_or_default();
                format!("{} is {found}, {} is expected", it.key, it.expected)
            });
            Judged::fail(text, remedy)
        };
        let lines = all.iter().filter(|it| !it.agrees).map(|it| {
            let found = it.found.as_deref().unwrap_or("nothing");
            format!(
                "{}: expected {}, found {found} ({})",
                it.key, it.expected, it.source
            )
        });
        Some(judged.with_evidence(lines))
    }
}
