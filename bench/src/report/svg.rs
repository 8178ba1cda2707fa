//! Owns the charts: plain inline SVG, readable in dark and light, each with a title and a
//! description for those who do not see it.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 40.0;
/// Colours of lines, as classes of the page's style.
const LINES: usize = 6;

/// A line of a chart.
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Points in data units.
    pub points: Vec<(f64, f64)>,
}

/// A chart of lines.
pub struct Chart<'a> {
    /// Unique on the page.
    pub id: &'a str,
    /// Its name.
    pub title: &'a str,
    /// What it shows, in words.
    pub description: String,
    /// The lines.
    pub lines: Vec<Line>,
    /// Ticks of the x axis: place and text.
    pub x_ticks: Vec<(f64, String)>,
    /// What x is.
    pub x_label: &'a str,
    /// Text of a y value.
    pub y_text: fn(f64) -> String,
    /// Logarithmic y axis.
    pub log: bool,
    /// Vertical marks with text.
    pub marks: Vec<(f64, String)>,
}

struct Scale {
    x: (f64, f64),
    y: (f64, f64),
    log: bool,
}

impl Scale {
    fn x(&self, value: f64) -> f64 {
        let width = (self.x.1 - self.x.0).max(f64::MIN_POSITIVE);
        LEFT + (value - self.x.0) / width * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high, value) = if self.log {
            (self.y.0.log10(), self.y.1.log10(), value.max(self.y.0).log10())
        } else {
            (self.y.0, self.y.1, value)
        };
        let share = (value - low) / (high - low).max(f64::MIN_POSITIVE);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

impl Chart<'_> {
    /// The chart as a figure; nothing when there are no points.
    pub fn draw(&self) -> String {
        if self.lines.iter().all(|line| line.points.is_empty()) {
            return String::new();
        }
        let scale = self.scale();
        let mut out = String::new();
        let (id, title) = (self.id, escape(self.title));
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<figure><h3>{title}</h3><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-labelledby=\"{id}-title {id}-desc\"><title id=\"{id}-title\">{title}</title>\
             <desc id=\"{id}-desc\">{}</desc>",
            escape(&self.description)
        );
        self.axes(&scale, &mut out);
        for (number, line) in self.lines.iter().enumerate() {
            let points: Vec<String> = line
                .points
                .iter()
                .map(|(x, y)| format!("{:.1},{:.1}", scale.x(*x), scale.y(*y)))
                .collect();
            let class = number % LINES;
            let _ =
                write!(out, "<polyline class=\"line c{class}\" points=\"{}\"/>", points.join(" "));
            if let [(x, y)] = line.points[..] {
                let (x, y) = (scale.x(x), scale.y(y));
                let _ = write!(
                    out,
                    "<circle class=\"dot c{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
                );
            }
        }
        for (number, (x, text)) in self.marks.iter().enumerate() {
            let (x, high) = (scale.x(*x), HEIGHT - BOTTOM);
            let y = TOP + 10.0 + 13.0 * (number % 4) as f64;
            let anchor = if x > WIDTH * 0.7 { "end" } else { "start" };
            let _ = write!(
                out,
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{high}\"/>\
                 <text class=\"note\" x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
                if anchor == "end" { x - 4.0 } else { x + 4.0 },
                escape(text)
            );
        }
        out.push_str("</svg>");
        self.legend(&mut out);
        out.push_str("</figure>");
        out
    }

    fn scale(&self) -> Scale {
        let all = || self.lines.iter().flat_map(|line| line.points.iter());
        let xs = all().map(|point| point.0).chain(self.x_ticks.iter().map(|tick| tick.0));
        let x =
            xs.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        let top = all().map(|point| point.1).fold(0.0, f64::max);
        let y = if self.log {
            let low = all().map(|point| point.1).filter(|y| *y > 0.0).fold(f64::INFINITY, f64::min);
            let low = if low.is_finite() { low } else { 1.0 };
            let low = 10_f64.powf(low.log10().floor());
            (low, 10_f64.powf(top.max(low * 10.0).log10().ceil()))
        } else {
            (0.0, round_up(top))
        };
        Scale { x: if x.0 < x.1 { x } else { (x.0 - 0.5, x.0 + 0.5) }, y, log: self.log }
    }

    fn axes(&self, scale: &Scale, out: &mut String) {
        for value in self.y_ticks(scale) {
            let y = scale.y(value);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                (self.y_text)(value)
            );
        }
        let base = HEIGHT - BOTTOM;
        for (value, text) in &self.x_ticks {
            let x = scale.x(*value);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{base}\" y2=\"{}\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                base + 4.0,
                base + 17.0,
                escape(text)
            );
        }
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 6.0,
            escape(self.x_label)
        );
    }

    fn y_ticks(&self, scale: &Scale) -> Vec<f64> {
        if !self.log {
            return (0..=4).map(|tick| scale.y.1 / 4.0 * f64::from(tick)).collect();
        }
        let mut ticks = vec![scale.y.0];
        while let Some(last) = ticks.last().filter(|last| **last < scale.y.1 * 0.99) {
            ticks.push(last * 10.0);
        }
        ticks
    }

    fn legend(&self, out: &mut String) {
        out.push_str("<figcaption>");
        for (number, line) in self.lines.iter().enumerate() {
            let class = number % LINES;
            let _ = write!(
                out,
                "<span class=\"key\"><svg viewBox=\"0 0 20 8\" class=\"swatch\" role=\"img\" \
                 aria-labelledby=\"{0}-k{number}\"><title id=\"{0}-k{number}\">line {1}</title>\
                 <line class=\"line c{class}\" x1=\"0\" x2=\"20\" y1=\"4\" y2=\"4\"/>\
                 </svg> {1}</span>",
                self.id,
                escape(&line.name)
            );
        }
        out.push_str("</figcaption>");
    }
}

/// The next of 1, 2, 4, 5, 8 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    steps.iter().map(|step| step * power).find(|top| *top >= value).unwrap_or(10.0 * power)
}

/// Text for HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}
