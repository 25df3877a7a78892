//! The picture of a timeline: a lane for each source, then for what was concluded, preserved, done, told and said.
//!
//! It is told without colours too: a shape says the lane, filled is observed, hollow is inferred.

use std::fmt::Write as _;

use staunch_model::{Printable, Timestamp};

mod strips;

use self::strips::{Bar, Strip, strips};
use super::axis::Axis;
use super::{Basis, Entry, Lane, Timeline, short};
use crate::backtest::html::escape;
use crate::output::day_and_time;

const WIDTH: f64 = 1_120.0;
/// Where the names of the lanes end.
const LEFT: f64 = 118.0;
/// What the last labels need.
const RIGHT: f64 = 150.0;
/// The height of the axis.
const TOP: f64 = 56.0;
/// Where its line is.
const AXIS: f64 = 50.0;
/// Marks that are closer are shown as one.
const APART: f64 = 13.0;
const LABEL_MAX: f64 = 200.0;
const LABEL_HEIGHT: f64 = 13.0;
const LEVELS_MAX: usize = 6;
const BAR_HEIGHT: f64 = 21.0;

/// Entries in one place.
struct Cluster<'a> {
    x: f64,
    entries: Vec<&'a Entry>,
}

/// A text beside a mark.
struct Label {
    x: f64,
    level: usize,
    text: String,
}

/// The picture: a table of inline SVG, whose head is the axis and whose rows are the lanes. Paper is cut between rows
/// and repeats the head. All of them have the coordinates of the whole picture.
pub(super) fn draw(timeline: &Timeline<'_>) -> String {
    let strips = strips(timeline);
    let axis = Axis::new(&times(timeline, &strips), LEFT, WIDTH - LEFT - RIGHT);
    let mut body = String::new();
    let mut y = TOP;
    for (at, strip) in strips.iter().enumerate() {
        let (lane, height) = lane(strip, &axis, timeline);
        let shade = if at % 2 == 0 { "even" } else { "odd" };
        // Nothing of a lane, whatever its letters are, reaches into another.
        let _ = writeln!(
            body,
            "<tr><td><svg viewBox=\"0 {y:.1} {WIDTH} {height:.1}\">\
             <rect class=\"{shade}\" x=\"0\" y=\"{y:.1}\" width=\"{WIDTH}\" height=\"{height:.1}\"/>{}\
             <svg class=\"{}\" x=\"0\" y=\"{y:.1}\" width=\"{WIDTH}\" height=\"{height:.1}\" overflow=\"hidden\">{lane}</svg>{}\
             </svg></td></tr>",
            grid(&axis, y, height),
            strip.lane.name(),
            gaps(&axis, y, height),
        );
        y += height;
    }
    let id = escape(&timeline.incident.id.to_string());
    format!(
        "<table class=\"picture\" role=\"img\" aria-labelledby=\"picture-title picture-desc\"><thead><tr><td>\
         <svg viewBox=\"0 0 {WIDTH} {TOP}\">\n<title id=\"picture-title\">Timeline of {id}</title>\n\
         <desc id=\"picture-desc\">{}</desc>\n\
         <defs><pattern id=\"gap\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <path class=\"hatch\" d=\"M0 0V6\"/></pattern></defs>\n{}{}{}</svg></td></tr></thead><tbody>\n{body}</tbody></table>\n",
        escape(&described(&strips, &axis)),
        ground(&axis),
        gaps(&axis, AXIS, TOP - AXIS),
        gap_lengths(&axis),
    )
}

/// What lasts, and what is not told by shape and place, in words.
fn described(strips: &[Strip<'_>], axis: &Axis) -> String {
    let mut text = String::from("Lanes from top to bottom: ");
    let lanes: Vec<String> = strips
        .iter()
        .map(|it| {
            let entries = if it.entries.len() == 1 { "entry" } else { "entries" };
            format!("{} with {} {entries}", it.title, it.entries.len())
        })
        .collect();
    text.push_str(&lanes.join(", "));
    let gaps = axis.gaps().count();
    let _ = write!(
        text,
        ". The axis of time has {} parts with a scale of their own and {gaps} gaps. The table below has all of it in words.",
        axis.parts.len()
    );
    text
}

/// All times that have a place on the axis.
fn times(timeline: &Timeline<'_>, strips: &[Strip<'_>]) -> Vec<Timestamp> {
    let mut times: Vec<Timestamp> = timeline.entries.iter().map(|entry| entry.at).collect();
    for strip in strips {
        times.extend(strip.bars.iter().flat_map(|bar| [bar.from, bar.to]));
        times.extend(said_at(strip));
    }
    times
}

/// When the first event of a source happened by its own clock.
fn said_at(strip: &Strip<'_>) -> Option<Timestamp> {
    let first = strip.entries.first().filter(|it| it.lane == Lane::Event)?;
    first.source_time
}

/// The axis, above the lanes.
fn ground(axis: &Axis) -> String {
    let mut svg = String::new();
    let mut last_day = String::new();
    for part in &axis.parts {
        let (left, right, x) = (part.left, part.left + part.width, part.begin());
        let (day, time) = day_and_time(part.from);
        let shown = if day == last_day { "" } else { &day };
        let _ = write!(
            svg,
            "<text class=\"day\" x=\"{x:.1}\" y=\"12\">{}</text><text class=\"time\" x=\"{x:.1}\" y=\"26\">{}</text>\
             <path class=\"axis\" d=\"M{left:.1} 50H{right:.1}M{x:.1} 31V50\"/>",
            escape(shown),
            escape(&time)
        );
        for tick in part.ticks() {
            let name = format!("+{}", round(tick.since_us));
            let _ = write!(
                svg,
                "<path class=\"axis\" d=\"M{0:.1} 45V50\"/>\
                 <text class=\"tick\" x=\"{0:.1}\" y=\"42\" text-anchor=\"middle\">{name}</text>",
                tick.x
            );
        }
        last_day = day;
        svg.push('\n');
    }
    svg
}

/// The ticks of the axis, behind a lane.
fn grid(axis: &Axis, y: f64, height: f64) -> String {
    let ticks = axis.parts.iter().flat_map(super::axis::Part::ticks);
    ticks
        .map(|tick| format!("<path class=\"grid\" d=\"M{:.1} {y:.1}v{height:.1}\"/>", tick.x))
        .collect()
}

/// The gaps, over a lane.
fn gaps(axis: &Axis, y: f64, height: f64) -> String {
    axis.gaps()
        .map(|(from, to, _)| {
            let width = to - from;
            format!("<rect class=\"gap\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>")
        })
        .collect()
}

/// How long each gap is, above it.
fn gap_lengths(axis: &Axis) -> String {
    let mut svg = String::new();
    for (from, to, us) in axis.gaps() {
        let _ = writeln!(
            svg,
            "<path class=\"axis\" d=\"M{from:.1} 50h{:.1}l4 -6l6 12l4 -6H{to:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"38\" text-anchor=\"middle\">{}</text>",
            (to - from) / 2.0 - 7.0,
            f64::midpoint(from, to),
            round(us),
        );
    }
    svg
}

/// A length of time without digits that say nothing.
fn round(us: u64) -> String {
    short(us).replace(".00s", "s").replace(".0ms", "ms")
}

/// What is in a lane, from its own top on, and how high it is.
fn lane(strip: &Strip<'_>, axis: &Axis, timeline: &Timeline<'_>) -> (String, f64) {
    let mut svg = format!(
        "<text class=\"lane\" x=\"6\" y=\"17\">{}</text>",
        escape(&fitting(&strip.title, LEFT - 14.0))
    );
    let mut y = 4.0;
    for bar in &strip.bars {
        svg.push_str(&bar_drawn(bar, axis, y));
        y += BAR_HEIGHT;
    }
    if strip.bars_left_out > 0 {
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{LEFT}\" y=\"{:.1}\">and {} more</text>",
            y + 11.0,
            strip.bars_left_out
        );
        y += LABEL_HEIGHT;
    }
    let clusters = clusters(strip, axis);
    if clusters.is_empty() {
        return (svg, y + 4.0);
    }
    let middle = y + 9.0;
    if let (Some(said), Some(first)) = (said_at(strip), clusters.first()) {
        let (from, to) = (axis.x(said), first.x);
        let _ = write!(
            svg,
            "<g><title>happened {} by the clock of {}</title><path class=\"said\" d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}v8\"/></g>",
            escape(&said.to_string()),
            escape(&strip.title),
            middle - 4.0
        );
    }
    let labels = labels(&clusters, strip.system.unwrap_or(&strip.title));
    let levels = labels.iter().map(|it| it.level + 1).max().unwrap_or(0);
    for label in &labels {
        let text_y = middle + 20.0 + label.level as f64 * LABEL_HEIGHT;
        let _ = write!(
            svg,
            "<path class=\"leader\" d=\"M{0:.1} {1:.1}V{2:.1}\"/><text class=\"label\" x=\"{3:.1}\" y=\"{text_y:.1}\">{4}</text>",
            label.x,
            middle + 6.0,
            text_y - 1.0,
            label.x + 3.0,
            escape(&label.text)
        );
    }
    for cluster in &clusters {
        svg.push_str(&mark(cluster, strip.lane, middle, timeline));
    }
    (svg, middle + 14.0 + levels as f64 * LABEL_HEIGHT + 6.0)
}

fn bar_drawn(bar: &Bar, axis: &Axis, y: f64) -> String {
    let (from, to) = (axis.x(bar.from), axis.x(bar.to));
    let class = match (bar.is_good, bar.is_over) {
        (true, true) => "bar",
        (true, false) => "bar open",
        (false, true) => "bar missed",
        (false, false) => "bar open missed",
    };
    let took = short(bar.to.since(bar.from).as_micros());
    let mut svg = format!(
        "<g><title>{0}: {took}</title><rect class=\"{class}\" x=\"{from:.1}\" y=\"{1:.1}\" width=\"{2:.1}\" height=\"6\"/>\
         <text class=\"label\" x=\"{from:.1}\" y=\"{3:.1}\">{4}</text>",
        escape(&bar.text),
        y + 12.0,
        (to - from).max(3.0),
        y + 10.0,
        escape(&fitting(&bar.text, LABEL_MAX.min(WIDTH - from - 6.0))),
    );
    if bar.is_over && !bar.is_good {
        let _ = write!(
            svg,
            "<path class=\"cross\" d=\"M{0:.1} {1:.1}l8 8m0 -8l-8 8\"/>",
            to - 4.0,
            y + 11.0
        );
    }
    svg.push_str("</g>");
    svg
}

fn clusters<'a>(strip: &Strip<'a>, axis: &Axis) -> Vec<Cluster<'a>> {
    let mut placed: Vec<(f64, &Entry)> = strip.entries.iter().map(|it| (axis.x(it.at), *it)).collect();
    placed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.number.cmp(&b.1.number)));
    let mut clusters: Vec<Cluster<'a>> = Vec::new();
    for (x, entry) in placed {
        match clusters.last_mut() {
            Some(last) if x - last.x < APART => last.entries.push(entry),
            _ => clusters.push(Cluster {
                x,
                entries: vec![entry],
            }),
        }
    }
    clusters
}

/// Labels that do not touch each other, and whose lines cross none.
///
/// They are placed from the right, each as high as it fits: what is further left hangs lower, and its line has nothing
/// in its way.
fn labels(clusters: &[Cluster<'_>], title: &str) -> Vec<Label> {
    let mut begins = [f64::INFINITY; LEVELS_MAX];
    let mut labels = Vec::new();
    for cluster in clusters.iter().rev() {
        let first = cluster.entries[0];
        let numbers = match cluster.entries.len() {
            1 => first.number.to_string(),
            more => format!("{} +{}", first.number, more - 1),
        };
        let whose = first.transaction.map_or_else(String::new, |id| format!("{id} "));
        // The lane says which source it is.
        let what = first
            .system
            .as_deref()
            .filter(|system| *system == title)
            .and_then(|system| first.what.strip_prefix(system))
            .map_or(first.what.as_str(), |rest| rest.trim_start_matches([':', ' ']));
        let room = LABEL_MAX.min(WIDTH - cluster.x - 6.0);
        let whole = fitting(&format!("{numbers} {whose}{what}"), room);
        for text in [whole, numbers] {
            let end = cluster.x + width(&text) + 9.0;
            // Lines of what hangs lower pass here.
            let is_free = |level: &usize| begins[*level..].iter().all(|begin| end < *begin);
            if let Some(level) = (0..LEVELS_MAX).find(is_free) {
                begins[level] = cluster.x;
                labels.push(Label {
                    x: cluster.x,
                    level,
                    text,
                });
                break;
            }
        }
    }
    labels
}

fn mark(cluster: &Cluster<'_>, lane: Lane, y: f64, timeline: &Timeline<'_>) -> String {
    let x = cluster.x;
    // The surest of what is in one place.
    let has = |basis| cluster.entries.iter().any(|it| it.basis == basis);
    let bases = [Basis::Observed, Basis::Stated, Basis::Inferred];
    let class = bases.into_iter().find(|it| has(*it)).unwrap_or(Basis::Inferred).class();
    let mut told = String::new();
    for entry in cluster.entries.iter().take(10) {
        let (day, time) = day_and_time(entry.at);
        let _ = writeln!(told, "{} {day} {time} {}", entry.number, entry.sentence(&day));
    }
    if cluster.entries.len() > 10 {
        let _ = writeln!(
            told,
            "and {} more of {}",
            cluster.entries.len() - 10,
            timeline.entries.len()
        );
    }
    let told: Vec<String> = told.lines().map(escape).collect();
    let more = if cluster.entries.len() > 1 {
        format!(
            "<path class=\"more\" d=\"M{:.1} {:.1}h5m-2.5 -2.5v5\"/>",
            x + 6.5,
            y - 5.0
        )
    } else {
        String::new()
    };
    format!(
        "<g><title>{}</title>{}{more}</g>",
        told.join("\n"),
        shape(lane, x, y, class)
    )
}

/// The shape of a lane; `class` is ours.
pub(super) fn shape(lane: Lane, x: f64, y: f64, class: &str) -> String {
    match lane {
        Lane::Event => format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>"),
        Lane::Log => format!(
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"11\" height=\"6\" rx=\"2\"/>",
            x - 5.5,
            y - 3.0
        ),
        Lane::Evidence => format!(
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\"/>",
            x - 4.5,
            y - 4.5
        ),
        lane => {
            let path = match lane {
                Lane::Incident => "m0 -6l6 6l-6 6l-6 -6z",
                Lane::Transaction => "m0 -6l6 11h-12z",
                Lane::Notice => "m0 6l6 -11h-12z",
                Lane::Found => "m0 -6l6 5l-2.4 7h-7.2l-2.4 -7z",
                _ => "m-2 -6h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
            };
            format!("<path class=\"{class}\" d=\"M{x:.1} {y:.1}{path}\"/>")
        }
    }
}

/// How wide a text is at the most in the letters of a label; no browser is here to be asked.
fn width(text: &str) -> f64 {
    text.chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | 't' | 'f' | 'r' | ' ' | '.' | ',' | ':' | ';' | '|' | '\'' | '-' | '(' | ')' => 4.2,
            'm' | 'w' | 'M' | 'W' | '@' | '%' => 10.2,
            'A'..='Z' | '_' | '&' | '<' | '>' | '=' | '+' | '~' => 8.0,
            c if c.is_ascii() => 6.4,
            '…' => 10.5,
            _ => 11.5,
        })
        .sum()
}

/// As much of `text` as fits. What is not safe to show counts, and is cut, as it is shown.
pub(super) fn fitting(text: &str, room: f64) -> String {
    let text = Printable(text).to_string();
    if width(&text) <= room {
        return text;
    }
    let mut cut = String::new();
    let mut left = room - width("…");
    for c in text.chars() {
        left -= width(c.encode_utf8(&mut [0; 4]));
        if left < 0.0 {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    cut
}
