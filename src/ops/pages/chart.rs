//! Small charts of what happened minute by minute: lines over the same minutes, with the largest value written out.

use maud::{Markup, html};

use super::badge::icon;

/// Size of the drawing; it is stretched to the room that there is.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// A line of a chart.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// What it counts.
    pub name: &'a str,
    /// Class of the style sheet, as of states.
    pub tone: &'a str,
    /// A value a minute, oldest first.
    pub values: &'a [u64],
}

/// A chart.
#[derive(Clone, Copy, Debug)]
pub struct Chart<'a> {
    /// Names it within the page.
    pub id: &'a str,
    /// What it shows.
    pub title: &'a str,
    /// Its lines, which share a scale.
    pub series: &'a [Series<'a>],
    /// How a value is written.
    pub format: fn(u64) -> String,
}

impl Chart<'_> {
    /// As a panel that is renewed.
    pub fn markup(&self) -> Markup {
        let most = self.series.iter().flat_map(|series| series.values).copied().max().unwrap_or(0);
        let minutes = self.series.iter().map(|series| series.values.len()).max().unwrap_or(0);
        html! {
            section class="panel" id=(self.id) data-refresh {
                header {
                    h2 class="grow" { (self.title) }
                    @if minutes > 0 { span class="muted" { "last " (minutes) " min, most " ((self.format)(most)) } }
                }
                @if minutes == 0 {
                    p class="chart muted" { "The first minute is not over." }
                } @else {
                    svg class="chart" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                        aria-label=(self.words(most)) {
                        @for series in self.series {
                            polyline class=(series.tone) points=(points(series.values, minutes, most)) {}
                        }
                    }
                }
                p class="legend" {
                    @for series in self.series {
                        span class=(series.tone) { (icon("dot")) (series.name) }
                    }
                }
            }
        }
    }

    /// The same for those who do not see it.
    fn words(&self, most: u64) -> String {
        let last = self.series.iter().map(|series| {
            let value = series.values.last().copied().unwrap_or(0);
            format!("{}: {} in the last minute", series.name, (self.format)(value))
        });
        let last: Vec<String> = last.collect();
        format!("{}; most: {}", last.join("; "), (self.format)(most))
    }
}

fn points(values: &[u64], minutes: usize, most: u64) -> String {
    let step = WIDTH / (minutes.max(2) - 1) as f64;
    let height = |value: u64| HEIGHT - 2.0 - (HEIGHT - 4.0) * value as f64 / most.max(1) as f64;
    let points = values.iter().enumerate().map(|(at, value)| format!("{:.1},{:.1}", at as f64 * step, height(*value)));
    let mut points: Vec<String> = points.collect();
    // One minute alone is a level line, not a point that nobody sees.
    if let [only] = values {
        points.push(format!("{WIDTH:.1},{:.1}", height(*only)));
    }
    points.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Chart, Series, points};

    #[test]
    fn the_largest_value_touches_the_top_and_zero_the_bottom() {
        assert_eq!(points(&[0, 10, 5], 3, 10), "0.0,118.0 300.0,2.0 600.0,60.0");
        assert_eq!(points(&[], 0, 0), "");
        assert_eq!(points(&[0], 1, 0), "0.0,118.0 600.0,118.0");
    }

    #[test]
    fn it_says_in_words_what_it_shows() {
        let series = [Series { name: "tasks", tone: "good", values: &[3, 7] }];
        let chart = Chart { id: "x", title: "Ended a minute", series: &series, format: |value| value.to_string() };
        let drawn = chart.markup().into_string();
        assert!(drawn.contains("tasks: 7 in the last minute; most: 7"), "{drawn}");
    }
}
