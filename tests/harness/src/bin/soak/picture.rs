//! Draws the curves as an SVG.

use std::fmt::Write as _;

use crate::memory::Sample;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const HEIGHT: f64 = 130.0;
const TOP: f64 = 70.0;
const GAP: f64 = 62.0;
const COLOURS: [&str; 2] = ["#8250df", "#0969da"];

/// What happened, and when.
#[derive(Clone, Debug)]
pub struct Event {
    pub from: f64,
    pub to: f64,
    pub what: &'static str,
}

struct Panel<'a> {
    title: &'a str,
    /// One curve per entry; the index selects the colour.
    curves: Vec<Vec<(f64, f64)>>,
}

/// Three panels over one time axis; `envoys` are the samples of the first and of the second Envoy.
pub fn draw(title: &str, seconds: f64, envoys: &[Vec<Sample>; 2], events: &[Event]) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let curve = |of: &dyn Fn(&Sample) -> Option<f64>| -> Vec<Vec<(f64, f64)>> {
        envoys.iter().map(|one| one.iter().filter_map(|sample| Some((sample.at, of(sample)?))).collect()).collect()
    };
    let mut all: Vec<&Sample> = envoys.iter().flatten().collect();
    all.sort_by(|one, other| one.at.total_cmp(&other.at));
    let rate = all
        .windows(2)
        .filter(|pair| pair[1].at - pair[0].at > 0.5)
        .map(|pair| (pair[1].at, (pair[1].answered - pair[0].answered) as f64 / (pair[1].at - pair[0].at)))
        .collect();
    let panels = [
        Panel { title: "resident memory of Envoy, MiB", curves: curve(&|one| Some(mib(one.resident))) },
        Panel { title: "given out by Envoy's allocator, MiB", curves: curve(&|one| one.allocated.map(mib)) },
        Panel {
            title: "linear memory of all VMs of the filter, MiB",
            curves: curve(&|one| Some(mib(one.vms.iter().sum()))),
        },
        Panel { title: "requests answered a second", curves: vec![Vec::new(), rate] },
    ];

    let tall = TOP + panels.len() as f64 * (HEIGHT + GAP);
    let x = |at: f64| LEFT + (WIDTH - LEFT - RIGHT) * at / seconds.max(1.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {tall}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{tall}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"44\" fill=\"{}\">first Envoy</text><text x=\"{}\" y=\"44\" fill=\"{}\">second Envoy, after the hot restart</text>\n",
        COLOURS[0],
        LEFT + 90.0,
        COLOURS[1],
    );
    for (index, panel) in panels.iter().enumerate() {
        let top = TOP + index as f64 * (HEIGHT + GAP) + 20.0;
        let most = panel.curves.iter().flatten().map(|(_, value)| *value).fold(0.0, f64::max);
        let step = step(most);
        let height = (most / step).floor() * step + step;
        let y = |value: f64| top + HEIGHT * (1.0 - value / height);
        let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\">{}</text>", top - 8.0, panel.title);
        for event in events {
            let (from, to) = (x(event.from), x(event.to));
            let _ = writeln!(
                svg,
                "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{HEIGHT}\" fill=\"#ffd8b5\"><title>{}</title></rect>",
                (to - from).max(1.5),
                event.what
            );
        }
        let mut value = 0.0;
        while value <= height + step / 2.0 {
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#d0d7de\"/><text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>",
                WIDTH - RIGHT,
                y(value),
                LEFT - 8.0,
                y(value) + 4.0,
                (value * 100.0).round() / 100.0
            );
            value += step;
        }
        for (curve, colour) in panel.curves.iter().zip(COLOURS) {
            let points: Vec<_> = curve.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
            if !points.is_empty() {
                let _ = writeln!(
                    svg,
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
                    points.join(" ")
                );
            }
        }
        let every = step_of_time(seconds);
        let mut at = 0.0;
        while at <= seconds {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#57606a\">{at} s</text>",
                x(at),
                top + HEIGHT + 15.0
            );
            at += every;
        }
        // Events are labelled once, below the last panel.
        if index + 1 == panels.len() {
            for (row, event) in events.iter().enumerate() {
                let _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"10\" fill=\"#953800\">{}</text>",
                    x(event.from),
                    top + HEIGHT + 28.0 + 11.0 * (row % 2) as f64,
                    event.what
                );
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// A round step that gives three to seven lines.
fn step(most: f64) -> f64 {
    let rough = (most / 4.0).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|one| one * power).find(|one| *one >= rough).unwrap_or(power)
}

fn step_of_time(seconds: f64) -> f64 {
    [5.0, 10.0, 30.0, 60.0, 120.0, 300.0].into_iter().find(|one| seconds / one <= 12.0).unwrap_or(600.0)
}
