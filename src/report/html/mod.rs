//! Reports as one HTML file that needs nothing else: no script, no font, no address. Light and dark, as the reader's system is.

mod chart;
mod page;

pub use chart::{Axis, Bar, BarChart, Line, LineChart, Scale};
pub use page::{Cell, Figure, Page, Tone};
