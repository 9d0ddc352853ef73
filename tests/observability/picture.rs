//! The panels of the dashboard as an SVG, with the data that Prometheus returned.

use std::fmt::Write as _;

use serde_json::Value;

const UNIT_WIDTH: f64 = 42.0;
const UNIT_HEIGHT: f64 = 30.0;
const TOP: f64 = 74.0;
const COLOURS: [&str; 10] =
    ["#0969da", "#cf222e", "#1a7f37", "#8250df", "#bc4c00", "#bf3989", "#0e8a8a", "#9a6700", "#57606a", "#000000"];
/// The number of legend lines that fit below a panel.
const LEGEND: usize = 6;

/// One curve.
pub struct Series {
    /// Its legend.
    pub name: String,
    /// Seconds since 1970, and the value.
    pub points: Vec<(f64, f64)>,
}

/// What happened from a moment on, in seconds since the start.
pub struct Phase {
    pub at: f64,
    pub what: &'static str,
}

/// A panel of the dashboard with its data.
pub struct Panel {
    title: String,
    unit: String,
    is_stat: bool,
    /// In units of Grafana's grid: x, y, width and height.
    place: [f64; 4],
    series: Vec<Series>,
}

impl Panel {
    pub fn new(panel: &Value, series: Vec<Series>) -> Self {
        Self {
            title: panel["title"].as_str().unwrap().to_owned(),
            unit: panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap().to_owned(),
            is_stat: panel["type"] == "stat",
            place: ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_f64().unwrap()),
            series,
        }
    }

    fn show(&self, value: f64) -> String {
        let short = |value: f64| ((value * 100.0).round() / 100.0).to_string();
        match self.unit.as_str() {
            "percentunit" => format!("{}%", short(value * 100.0)),
            "reqps" => format!("{}/s", short(value)),
            _ => short(value),
        }
    }
}

/// `names` replace the addresses of the Envoys, which differ from run to run.
pub fn draw(panels: &[Panel], names: &[(&str, &str)], begun: f64, ended: f64, phases: &[Phase]) -> String {
    let rows = panels.iter().map(|panel| panel.place[1] + panel.place[3]).fold(0.0, f64::max);
    let (width, height) = (24.0 * UNIT_WIDTH + 20.0, TOP + rows * UNIT_HEIGHT + 20.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"10\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#f6f8fa\"/>\n\
         <text x=\"14\" y=\"24\" font-size=\"15\" font-weight=\"bold\">The queries of dashboard.json, answered by a Prometheus that asked four Envoys each second for {:.0} s</text>\n",
        ended - begun
    );
    let mut x = 14.0;
    for (index, phase) in phases.iter().enumerate() {
        let _ =
            writeln!(svg, "<text x=\"{x}\" y=\"46\" fill=\"#57606a\">{}: {}</text>", index + 1, escaped(phase.what));
        x += 60.0 + 6.0 * phase.what.len() as f64;
    }
    for panel in panels {
        draw_panel(&mut svg, panel, names, begun, ended, phases);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_panel(svg: &mut String, panel: &Panel, names: &[(&str, &str)], begun: f64, ended: f64, phases: &[Phase]) {
    let [x, y, w, h] = panel.place;
    let (left, top) = (14.0 + x * UNIT_WIDTH, TOP + y * UNIT_HEIGHT);
    let (width, height) = (w * UNIT_WIDTH - 8.0, h * UNIT_HEIGHT - 8.0);
    let _ = writeln!(
        svg,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"#ffffff\" stroke=\"#d0d7de\"/>\
         <text x=\"{}\" y=\"{}\" font-size=\"12\" font-weight=\"bold\">{}</text>",
        left + 8.0,
        top + 17.0,
        escaped(&panel.title)
    );
    let name = |series: &Series| names.iter().fold(series.name.clone(), |name, (from, to)| name.replace(from, to));
    if panel.is_stat {
        for (index, series) in panel.series.iter().enumerate() {
            let value = series.points.last().map_or(0.0, |(_, value)| *value);
            let column = left + 8.0 + index as f64 * (width - 8.0) / panel.series.len() as f64;
            let _ = writeln!(
                svg,
                "<text x=\"{column}\" y=\"{}\" font-size=\"26\" fill=\"{}\">{}</text><text x=\"{column}\" y=\"{}\" fill=\"#57606a\">{}</text>",
                top + 60.0,
                COLOURS[index % COLOURS.len()],
                panel.show(value),
                top + 80.0,
                escaped(&name(series))
            );
        }
        return;
    }

    let shown = panel.series.len().min(LEGEND);
    let legend_rows = shown.div_ceil(2) as f64;
    let (plot_left, plot_right) = (left + 52.0, left + width - 10.0);
    let (plot_top, plot_bottom) = (top + 28.0, top + height - 22.0 - legend_rows * 13.0);
    let most = panel.series.iter().flat_map(|one| &one.points).map(|(_, value)| *value).fold(0.0, f64::max);
    // If everything is 0, there is still an axis.
    let most = if most > 0.0 { most } else { 1.0 };
    let step = round_step(most);
    let ceiling = (most / step).ceil().max(1.0) * step;
    let at = |time: f64| plot_left + (plot_right - plot_left) * (time - begun) / (ended - begun);
    let level = |value: f64| plot_bottom - (plot_bottom - plot_top) * value / ceiling;
    let mut line = 0.0;
    while line <= ceiling + step / 2.0 {
        let _ = writeln!(
            svg,
            "<line x1=\"{plot_left}\" x2=\"{plot_right}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#eaeef2\"/><text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\" fill=\"#57606a\">{3}</text>",
            level(line),
            plot_left - 5.0,
            level(line) + 3.0,
            panel.show(line)
        );
        line += step;
    }
    for (index, phase) in phases.iter().enumerate() {
        let x = at(begun + phase.at);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{plot_top}\" y2=\"{plot_bottom}\" stroke=\"#8c959f\" stroke-dasharray=\"2 3\"/><text x=\"{:.1}\" y=\"{:.1}\" fill=\"#57606a\">{}</text>",
            x + 3.0,
            plot_bottom + 11.0,
            index + 1
        );
    }
    for (index, series) in panel.series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        // A gap in the values is a gap in the line.
        let gap = 2.5 * series.points.windows(2).map(|pair| pair[1].0 - pair[0].0).fold(f64::MAX, f64::min);
        let mut pieces: Vec<Vec<String>> = vec![Vec::new()];
        let mut last = f64::MAX;
        for (time, value) in &series.points {
            if time - last > gap {
                pieces.push(Vec::new());
            }
            last = *time;
            pieces.last_mut().unwrap().push(format!("{:.1},{:.1}", at(*time), level(*value)));
        }
        for piece in pieces {
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
                piece.join(" ")
            );
        }
        if index < shown {
            let (column, row) = (index % 2, index / 2);
            let (x, y) = (left + 12.0 + column as f64 * width / 2.0, plot_bottom + 26.0 + row as f64 * 13.0);
            let more = panel.series.len() - shown;
            let more = if index + 1 == shown && more > 0 { format!(", and {more} more") } else { String::new() };
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{}\" width=\"10\" height=\"3\" fill=\"{colour}\"/><text x=\"{}\" y=\"{y}\">{}{more}</text>",
                y - 5.0,
                x + 14.0,
                escaped(&name(series))
            );
        }
    }
}

/// A round step that gives three to six lines.
fn round_step(most: f64) -> f64 {
    let rough = (most / 4.0).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|one| one * power).find(|one| *one >= rough).unwrap_or(power)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
