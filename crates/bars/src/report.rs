//! Figures, their floors and their bars.

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: &'static str,
    /// The figure, with its unit.
    pub(crate) figure: String,
    /// The floor of the same run, with its unit.
    pub(crate) floor: String,
    /// The bar.
    pub(crate) bar: String,
    /// Whether the bar is reached.
    pub(crate) reached: bool,
    /// Numbers for machines.
    pub(crate) numbers: Vec<(&'static str, f64)>,
}

/// Prints the table, 80 columns wide.
pub(crate) fn print_table(rows: &[Row]) {
    println!("{:<26} {:>17} {:>13} {:>14}  bar", "what", "figure", "floor", "");
    for row in rows {
        let mark = if row.reached { "reached" } else { "MISSED" };
        println!(
            "{:<26} {:>17} {:>13} {:>14}  {}",
            row.what, row.figure, row.floor, mark, row.bar
        );
    }
}

/// Prints the table of two builds, 80 columns wide: the figure is the present one's, the floor the other's.
pub(crate) fn print_compared(rows: &[Row]) {
    println!("{:<26} {:>9} {:>9}", "what", "this", "the other");
    for row in rows {
        println!("{:<26} {:>9} {:>9}  {}", row.what, row.figure, row.floor, row.bar);
    }
}

/// Prints one JSON object a line.
pub(crate) fn print_json(rows: &[Row]) {
    for row in rows {
        let mut object = serde_json::Map::new();
        object.insert("what".into(), row.what.into());
        object.insert("figure".into(), row.figure.clone().into());
        object.insert("floor".into(), row.floor.clone().into());
        object.insert("bar".into(), row.bar.clone().into());
        object.insert("reached".into(), row.reached.into());
        for (name, number) in &row.numbers {
            object.insert((*name).into(), (*number).into());
        }
        println!("{}", serde_json::Value::Object(object));
    }
}

/// The value below which `share` of the sorted `values` lie.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let at = ((values.len() as f64 - 1.0) * share).round() as usize;
    values[at]
}
