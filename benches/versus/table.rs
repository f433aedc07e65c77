//! The results as markdown.

use crate::rows::{Figures, LoadResult, Single};

/// A generator busier than this may have been what limited the result.
const GENERATOR_LIMIT: f64 = 0.95;

fn rate(value: f64) -> String {
    if value >= 1e6 { format!("{:.2} M/s", value / 1e6) } else { format!("{:.1} k/s", value / 1e3) }
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

/// The load rows: rate and its ratio (ours to Apache's), cost, and latencies with their ratios (ours to Apache's).
pub fn load(results: &[LoadResult]) -> String {
    let mut text = String::from(
        "| connections x outstanding | Apache | ringkeeper | ratio | Apache CPU-s/M | ringkeeper CPU-s/M \
         | Apache p50 | ringkeeper p50 | ratio | Apache p99 | ringkeeper p99 | ratio |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let (mut disturbed, mut limited) = (false, false);
    for result in results {
        let both = [result.apache, result.ringkeeper];
        let cell = |figures: Option<Figures>, show: &dyn Fn(Figures) -> String| figures.map_or("-".into(), show);
        let shown = both.map(|figures| {
            cell(figures, &|figures| {
                let star = if figures.disturbed { " *" } else { "" };
                let dagger = if figures.generator > GENERATOR_LIMIT { " +" } else { "" };
                format!("{}{star}{dagger}", rate(figures.ops_per_s))
            })
        });
        disturbed |= both.iter().flatten().any(|figures| figures.disturbed);
        limited |= both.iter().flatten().any(|figures| figures.generator > GENERATOR_LIMIT);
        let cost = both.map(|figures| cell(figures, &|figures| format!("{:.2}", figures.cpu_s_per_million)));
        let p50 = both.map(|figures| cell(figures, &|figures| micros(figures.p50_us)));
        let p99 = both.map(|figures| cell(figures, &|figures| micros(figures.p99_us)));
        let [apache, ours] = both;
        text += &format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            result.title,
            shown[0],
            shown[1],
            ratio(ours.map(|f| f.ops_per_s), apache.map(|f| f.ops_per_s)),
            cost[0],
            cost[1],
            p50[0],
            p50[1],
            ratio(ours.map(|f| f.p50_us), apache.map(|f| f.p50_us)),
            p99[0],
            p99[1],
            ratio(ours.map(|f| f.p99_us), apache.map(|f| f.p99_us)),
        );
    }
    if disturbed {
        text += "\n\\* something else used the machine in most of these rounds\n";
    }
    if limited {
        text += "\n\\+ the generator was busy all the time: the server may be faster\n";
    }
    text
}

/// The measurements of one number; the ratio is ours to Apache's, smaller is better.
pub fn single(singles: &[Single]) -> String {
    let mut text = String::from("| measurement | Apache | ringkeeper | ratio |\n|---|--:|--:|--:|\n");
    for single in singles {
        let show = |value: Option<f64>| {
            value.map_or("-".into(), |value| {
                let digits = if single.unit == "bytes" || value >= 100.0 { 0 } else { 2 };
                format!("{value:.digits$} {}", single.unit)
            })
        };
        text += &format!(
            "| {} | {} | {} | {} |\n",
            single.title,
            show(single.apache),
            show(single.ringkeeper),
            ratio(single.ringkeeper, single.apache)
        );
    }
    text
}
