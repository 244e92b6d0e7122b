//! A page of headings, paragraphs, tables and figures.

use std::fmt::{self, Write as _};

use super::chart::COLORS;

const STYLE: &str = include_str!("style.css");

/// What a text says of a result: it gives the text its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As any text.
    Plain,
    /// What went well.
    Good,
    /// What to take note of.
    Caution,
    /// What is wrong.
    Bad,
    /// What matters less.
    Faint,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Caution => "caution",
            Self::Bad => "bad",
            Self::Faint => "faint",
        }
    }
}

/// A cell of a table.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    tone: Tone,
    is_number: bool,
}

impl Cell {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::toned(text, Tone::Plain)
    }

    /// A number with its unit, which is aligned at the right.
    pub fn number(text: impl Into<String>) -> Self {
        Self {
            is_number: true,
            ..Self::text(text)
        }
    }

    /// A text with a tone.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
            is_number: false,
        }
    }
}

/// A picture with what it shows.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it shows, in a sentence.
    pub caption: String,
    /// What its colours mean: the names of what has them, in their order.
    pub names: Vec<String>,
    /// The picture.
    pub svg: String,
}

/// A page while it is written, from top to bottom. All texts are escaped.
#[derive(Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// An empty page; the title is its first heading too.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            body: String::new(),
        }
    }

    fn add(&mut self, element: fmt::Arguments<'_>) {
        let _ = writeln!(self.body, "{element}"); // A string takes all.
    }

    /// A heading.
    pub fn heading(&mut self, text: &str) {
        self.add(format_args!("<h2>{}</h2>", Escaped(text)));
    }

    /// A heading within a section.
    pub fn minor_heading(&mut self, text: &str) {
        self.add(format_args!("<h3>{}</h3>", Escaped(text)));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str, tone: Tone) {
        self.add(format_args!(
            "<p class=\"{}\">{}</p>",
            tone.class(),
            Escaped(text)
        ));
    }

    /// The one line that says how it ended.
    pub fn verdict(&mut self, text: &str, tone: Tone) {
        self.add(format_args!(
            "<div class=\"verdict {}\">{}</div>",
            tone.class(),
            Escaped(text)
        ));
    }

    /// Lines as they are, as of a log.
    pub fn verbatim(&mut self, text: &str) {
        self.add(format_args!("<pre>{}</pre>", Escaped(text)));
    }

    /// Statements, one below the other.
    pub fn list<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) {
        self.add(format_args!("<ul>"));
        for text in texts {
            self.add(format_args!("<li>{}</li>", Escaped(text)));
        }
        self.add(format_args!("</ul>"));
    }

    /// What a reader opens to see it: `fill` adds to it. This is its first line.
    pub fn folded(&mut self, summary: &str, fill: impl FnOnce(&mut Self)) {
        self.add(format_args!(
            "<details><summary>{}</summary>",
            Escaped(summary)
        ));
        fill(self);
        self.add(format_args!("</details>"));
    }

    /// A table; a column of numbers is headed at the right as well.
    pub fn table(&mut self, headings: &[&str], rows: &[Vec<Cell>]) {
        self.add(format_args!("<div class=\"scroll\"><table><thead><tr>"));
        for (column, heading) in headings.iter().enumerate() {
            let is_number = |row: &Vec<Cell>| row.get(column).is_some_and(|cell| cell.is_number);
            let class = if rows.iter().any(is_number) {
                " class=\"number\""
            } else {
                ""
            };
            self.add(format_args!("<th{class}>{}</th>", Escaped(heading)));
        }
        self.add(format_args!("</tr></thead><tbody>"));
        for row in rows {
            self.add(format_args!("<tr>"));
            for cell in row {
                let number = if cell.is_number { "number " } else { "" };
                self.add(format_args!(
                    "<td class=\"{number}{}\">{}</td>",
                    cell.tone.class(),
                    Escaped(&cell.text)
                ));
            }
            self.add(format_args!("</tr>"));
        }
        self.add(format_args!("</tbody></table></div>"));
    }

    /// Pictures, beside each other where there is room.
    pub fn figures(&mut self, figures: &[Figure]) {
        if figures.is_empty() {
            return;
        }
        self.add(format_args!("<div class=\"figures\">"));
        for figure in figures {
            self.figure(figure);
        }
        self.add(format_args!("</div>"));
    }

    fn figure(&mut self, figure: &Figure) {
        let caption = Escaped(&figure.caption);
        self.add(format_args!(
            "<figure><figcaption>{caption}</figcaption><div class=\"key\">"
        ));
        for (at, name) in figure.names.iter().enumerate() {
            self.add(format_args!(
                "<span><i style=\"background:var(--c{})\"></i>{}</span>",
                at % COLORS.len(),
                Escaped(name)
            ));
        }
        let label = format!("<svg role=\"img\" aria-label=\"{caption}\" ");
        self.add(format_args!(
            "</div>{}</figure>",
            figure.svg.replacen("<svg ", &label, 1)
        ));
    }

    /// The file's contents.
    #[must_use]
    pub fn finish(self) -> String {
        let title = Escaped(&self.title);
        let body = self.body;
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"generator\" content=\"iommu-tool {}\">\n<title>{title}</title>\n<style>\n{STYLE}{}</style>\n\
             </head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n",
            env!("CARGO_PKG_VERSION"),
            super::chart::color_rules(),
        )
    }
}

/// A text that stands for itself in HTML, within elements and attributes.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_become_markup() {
        let mut page = Page::new("a & b");
        page.paragraph("<script>", Tone::Bad);
        page.table(
            &["\"quoted\""],
            &[vec![Cell::number("1 < 2")], vec![Cell::text("x")]],
        );
        page.list(["<ul>"]);
        page.folded("<b>", |page| page.paragraph("<u>", Tone::Plain));
        page.figures(&[Figure {
            caption: "<p>".into(),
            names: vec!["<i>".into()],
            svg: "<svg width=\"1\"></svg>".into(),
        }]);

        let html = page.finish();

        assert!(html.contains("<title>a &amp; b</title>"));
        assert!(html.contains("<p class=\"bad\">&lt;script&gt;</p>"));
        assert!(html.contains("<th class=\"number\">&quot;quoted&quot;</th>"));
        assert!(html.contains("<td class=\"number plain\">1 &lt; 2</td>"));
        assert!(html.contains("<svg role=\"img\" aria-label=\"&lt;p&gt;\" width=\"1\">"));
        assert!(html.contains("<li>&lt;ul&gt;</li>"));
        assert!(html.contains("<summary>&lt;b&gt;</summary>"));
        assert!(!html.contains("<script>") && !html.contains("http"));
    }
}
