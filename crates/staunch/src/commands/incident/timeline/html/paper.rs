//! How the page prints: on A4 and on US Letter, across, because a table of times is wide.
//!
//! The picture of the course is a table with a row for each lane: paper is cut between lanes, and the axis is on each
//! sheet. That of the causes is scaled to one sheet, which stands upright where it is larger so. No rule names a paper:
//! it is the printer's.

/// Around what is printed.
const MARGIN_MM: f64 = 12.0;

/// What A4 (210 by 297) and US Letter (215.9 by 279.4) both have room for.
const SHORT_MM: f64 = 210.0 - 2.0 * MARGIN_MM;
const LONG_MM: f64 = 279.4 - 2.0 * MARGIN_MM;

/// The heading above the causes, and what its lines need around them.
const HEADING_MM: f64 = 17.0;

/// Of a picture; 96 to the inch (CSS Values, absolute lengths).
const MM_OF_UNIT: f64 = 25.4 / 96.0;

/// How much larger causes must be on a sheet that stands upright, to turn it: what stands across needs no sheet of its
/// own.
const WORTH_TURNING: f64 = 1.15;

/// The rules for the picture of what led to what.
pub(super) fn rules(causes: &str) -> String {
    let [width, height] = size(causes).map(|it| it * MM_OF_UNIT);
    let scale = |across: f64, down: f64| (across / width).min((down - HEADING_MM) / height).min(1.0);
    let (landscape, portrait) = (scale(LONG_MM, SHORT_MM), scale(SHORT_MM, LONG_MM));
    let is_turned = portrait > landscape * WORTH_TURNING;
    let scale = if is_turned { portrait } else { landscape };
    let page = if is_turned {
        format!("@page causes{{size:portrait;margin:{MARGIN_MM}mm}}@media print{{.causes{{page:causes}}}}")
    } else {
        String::new()
    };
    format!(
        "{page}@media print{{svg.graph{{width:{:.0}mm;height:auto}}}}",
        (width * scale).floor().max(1.0)
    )
}

/// The size of a picture of ours, as it says itself.
fn size(svg: &str) -> [f64; 2] {
    let numbers = svg
        .split_once("viewBox=\"0 0 ")
        .and_then(|(_, rest)| rest.split_once('"'));
    let mut numbers = numbers
        .map_or("", |it| it.0)
        .split(' ')
        .filter_map(|it| it.parse().ok());
    let mut next = || numbers.next().filter(|it| *it > 0.0).unwrap_or(1.0);
    [next(), next()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svg(width: u32, height: u32) -> String {
        format!("<svg class=\"x\" viewBox=\"0 0 {width} {height}\" width=\"1\">")
    }

    #[test]
    fn causes_are_as_large_as_a_sheet_lets_them_be_and_no_larger() {
        assert_eq!(size(&svg(1120, 1103)), [1120.0, 1103.0]);
        // What fits as it is stays so.
        assert_eq!(
            rules(&svg(640, 400)),
            "@media print{svg.graph{width:169mm;height:auto}}"
        );
        // Wide: across. High: upright, on a sheet of its own.
        assert_eq!(
            rules(&svg(1920, 960)),
            "@media print{svg.graph{width:255mm;height:auto}}"
        );
        assert_eq!(
            rules(&svg(960, 1440)),
            "@page causes{size:portrait;margin:12mm}@media print{.causes{page:causes}}\
             @media print{svg.graph{width:158mm;height:auto}}"
        );
        for (width, height) in [(1, 1), (9_600, 960), (960, 9_600), (4_000, 4_000)] {
            let rules = rules(&svg(width, height));
            let mm: f64 = rules
                .split_once("svg.graph{width:")
                .and_then(|(_, it)| it.split_once("mm"))
                .and_then(|it| it.0.parse().ok())
                .expect("a width");
            let high = mm * f64::from(height) / f64::from(width);
            let (across, down) = if rules.contains("portrait") {
                (SHORT_MM, LONG_MM)
            } else {
                (LONG_MM, SHORT_MM)
            };
            assert!(
                mm <= across && high <= down - HEADING_MM + 10.0,
                "{width} {height}: {rules}"
            );
        }
    }
}
