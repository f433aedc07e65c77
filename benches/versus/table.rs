//! The results as markdown.

use crate::load::{Figures, LoadResult};
use crate::options::Kind;
use crate::single::Single;
use crate::tails::Tail;

/// A generator busier than this may have been what limited the result.
const GENERATOR_LIMIT: f64 = 0.95;

fn rate(value: f64) -> String {
    if value >= 1e6 { format!("{:.2} M/s", value / 1e6) } else { format!("{:.1} k/s", value / 1e3) }
}

fn seconds(value: f64) -> String {
    format!("{value:.2}")
}

fn micros(value: f64) -> String {
    if value >= 1e3 { format!("{:.2} ms", value / 1e3) } else { format!("{value:.0} us") }
}

fn ratio(a: Option<f64>, b: Option<f64>) -> String {
    match a.zip(b) {
        Some((a, b)) if b > 0.0 => format!("{:.2}x", a / b),
        _ => "-".into(),
    }
}

fn of(values: &[(Kind, f64)], kind: Kind) -> Option<f64> {
    values.iter().find(|(other, _)| *other == kind).map(|(_, value)| *value)
}

fn line(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

/// A heading whose first column stands left, all others right.
fn heading(cells: Vec<String>) -> String {
    let rule: Vec<&str> = (0..cells.len()).map(|place| if place == 0 { "---" } else { "--:" }).collect();
    format!("{}|{}|\n", line(cells), rule.join("|"))
}

/// One figure of the load rows.
struct Figure {
    title: &'static str,
    read: fn(&Figures) -> f64,
    show: fn(f64) -> String,
    /// The more the better; otherwise the less.
    is_rate: bool,
}

const FIGURES: [Figure; 5] = [
    Figure { title: "operations", read: |f| f.ops_per_s, show: rate, is_rate: true },
    Figure { title: "CPU-s per million", read: |f| f.cpu_s_per_million, show: seconds, is_rate: false },
    Figure { title: "p50", read: |f| f.p50_us, show: micros, is_rate: false },
    Figure { title: "p99", read: |f| f.p99_us, show: micros, is_rate: false },
    Figure { title: "p99.9", read: |f| f.p999_us, show: micros, is_rate: false },
];

/// The load rows: a table for each figure, with the ratios of ours to Apache's and to the better floor's.
pub fn load(results: &[LoadResult], kinds: &[Kind]) -> String {
    let mut text = FIGURES.iter().map(|figure| table_of(figure, results, kinds)).collect::<Vec<_>>().join("\n");
    let any = |is: fn(&Figures) -> bool| results.iter().flat_map(|result| &result.figures).any(is);
    if any(|figures| figures.disturbed) {
        text += "\n\\* something else used the machine in most of these rounds\n";
    }
    if any(|figures| figures.generator > GENERATOR_LIMIT) {
        text += "\n\\+ the generator was busy all the time: the server may be faster\n";
    }
    text
}

fn table_of(figure: &Figure, results: &[LoadResult], kinds: &[Kind]) -> String {
    let title = format!("{}, connections x outstanding", figure.title);
    let names = kinds.iter().map(Kind::to_string);
    let ratios = ["to Apache", "to the floor"].map(String::from);
    let mut text = heading(std::iter::once(title).chain(names).chain(ratios).collect());
    for result in results {
        let values: Vec<(Kind, f64)> = result.figures.iter().map(|f| (f.kind, (figure.read)(f))).collect();
        let floors = values.iter().filter(|(kind, _)| kind.is_floor()).map(|(_, value)| *value);
        let floor = floors.reduce(if figure.is_rate { f64::max } else { f64::min });
        let ours = of(&values, Kind::Ringkeeper);
        let shown = result.figures.iter().map(|figures| {
            let marks = if figure.is_rate { marks(figures) } else { String::new() };
            (figure.show)((figure.read)(figures)) + &marks
        });
        let ratios = [ratio(ours, of(&values, Kind::Apache)), ratio(ours, floor)];
        text += &line(std::iter::once(result.title.clone()).chain(shown).chain(ratios));
    }
    text
}

fn marks(figures: &Figures) -> String {
    let star = if figures.disturbed { " *" } else { "" };
    let dagger = if figures.generator > GENERATOR_LIMIT { " +" } else { "" };
    format!("{star}{dagger}")
}

/// The measurements of one number; the ratio is ours to Apache's, smaller is better.
pub fn single(singles: &[Single]) -> String {
    let mut text = heading(["measurement", "Apache", "ringkeeper", "ratio"].map(String::from).to_vec());
    for single in singles {
        let show = |value: Option<f64>| {
            value.map_or("-".into(), |value| {
                let digits = if single.unit == "bytes" || value >= 100.0 { 0 } else { 2 };
                format!("{value:.digits$} {}", single.unit)
            })
        };
        let [apache, ours] = [Kind::Apache, Kind::Ringkeeper].map(|kind| of(&single.values, kind));
        text += &line([single.title.clone(), show(apache), show(ours), ratio(ours, apache)]);
    }
    text
}

/// The tails, each with its ratio to the same server's quiet one, and ours to Apache's.
pub fn tails(tails: &[Tail]) -> String {
    let names = ["p99.9 at half load, while", "Apache", "to quiet", "ringkeeper", "to quiet", "to Apache"];
    let mut text = heading(names.map(String::from).to_vec());
    let quiet = |kind| tails.first().and_then(|tail| of(&tail.p999_us, kind));
    for tail in tails {
        let [apache, ours] = [Kind::Apache, Kind::Ringkeeper].map(|kind| of(&tail.p999_us, kind));
        let show = |value: Option<f64>| value.map_or("-".into(), micros);
        text += &line([
            tail.beside.clone(),
            show(apache),
            ratio(apache, quiet(Kind::Apache)),
            show(ours),
            ratio(ours, quiet(Kind::Ringkeeper)),
            ratio(ours, apache),
        ]);
    }
    text
}
