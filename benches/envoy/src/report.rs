//! A table in Markdown, which is also readable in a terminal, and a picture.

use std::fmt::Write as _;

use crate::stats::Spread;

/// The measurements of one item.
pub struct Row {
    pub name: String,
    pub cells: Vec<String>,
    /// The value in the picture.
    pub bar: Option<Spread>,
}

/// Several items with the same measurements.
pub struct Table {
    pub title: String,
    /// The value in the picture, with its unit.
    pub axis: String,
    pub columns: Vec<&'static str>,
    pub rows: Vec<Row>,
}

/// `median [quartile .. quartile]`.
pub fn spread(value: Spread, digits: usize) -> String {
    format!("{:.digits$} [{:.digits$} .. {:.digits$}]", value.median, value.low, value.high)
}

impl Table {
    pub fn markdown(&self) -> String {
        let mut lines = vec![self.columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>()];
        lines.extend(self.rows.iter().map(|row| {
            let mut line = vec![row.name.clone()];
            line.extend(row.cells.iter().cloned());
            line
        }));
        let width =
            |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<_> = (0..self.columns.len()).map(|column| width(column).unwrap_or_default()).collect();
        let mut text = format!("### {}\n\n", self.title);
        for (index, line) in lines.iter().enumerate() {
            for (cell, width) in line.iter().zip(&widths) {
                let _ = write!(text, "| {cell:<width$} ");
            }
            text.push_str("|\n");
            if index == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let _ = write!(
                        text,
                        "| {}{} ",
                        "-".repeat(width.saturating_sub(1).max(2)),
                        if column == 0 { "-" } else { ":" }
                    );
                }
                text.push_str("|\n");
            }
        }
        text
    }

    /// Bars with their quartiles.
    pub fn picture(&self) -> Option<String> {
        const LEFT: f64 = 310.0;
        const WIDE: f64 = 370.0;
        const STEP: f64 = 28.0;
        let bars: Vec<_> = self.rows.iter().filter_map(|row| Some((&row.name, row.bar?))).collect();
        let most = bars.iter().map(|(_, bar)| bar.high).fold(0.0, f64::max);
        if bars.len() < 2 || most <= 0.0 {
            return None;
        }
        let height = STEP * bars.len() as f64 + 78.0;
        let mut svg = format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" viewBox="0 0 760 {height}" font-family="sans-serif" font-size="13">
<rect width="760" height="{height}" fill="#fff"/>
<text x="16" y="26" font-size="15" font-weight="bold">{}</text>
<text x="16" y="46" fill="#555">{}; the line spans the quartiles</text>
"##,
            escaped(&self.title),
            escaped(&self.axis),
        );
        for (index, (name, bar)) in bars.iter().enumerate() {
            let top = 60.0 + STEP * index as f64;
            let x = |value: f64| LEFT + value.max(0.0) / most * WIDE;
            let own = if name.contains("the filter") { "#b4432e" } else { "#7f96ad" };
            let _ = writeln!(
                svg,
                r##"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>
<rect x="{LEFT}" y="{top:.1}" width="{:.1}" height="18" fill="{own}"/>
<line x1="{:.1}" x2="{:.1}" y1="{:.1}" y2="{:.1}" stroke="#111" stroke-width="2"/>
<text x="{:.1}" y="{:.1}">{:.2}</text>"##,
                LEFT - 8.0,
                top + 14.0,
                escaped(name),
                x(bar.median) - LEFT,
                x(bar.low),
                x(bar.high),
                top + 9.0,
                top + 9.0,
                x(bar.high) + 8.0,
                top + 14.0,
                bar.median,
            );
        }
        svg.push_str("</svg>\n");
        Some(svg)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
