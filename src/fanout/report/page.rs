//! A report as one page that needs nothing else: its plots are drawn here, and nothing in it runs.

use std::fmt::Write as _;

use super::Report;
use super::plot::{Line, bars, lines};
use super::quantiles::COLUMNS;
use super::text::{Micros, grouped};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --faint: #ddd; --one: #0b62a4; --two: #c0392b }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ddd; --paper: #181a1b; --faint: #444; --one: #6cb4ee; --two: #f08a7d }
}
body { font: 16px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 48rem;
  margin: 0 auto; padding: 1rem }
pre { overflow-x: auto; font-size: 0.8rem }
figure { margin: 2rem 0 } figcaption { font-weight: 600; margin-bottom: 0.4rem }
figcaption span { font-weight: 400 } .one { stroke: var(--one); color: var(--one) }
.two { stroke: var(--two); color: var(--two) }
svg { width: 100%; height: auto } svg text { font-size: 12px; fill: var(--ink) }
svg rect { fill: var(--one) } svg path { fill: none; stroke-width: 2 }
svg .axis { stroke: var(--ink); stroke-width: 1 } svg .grid { stroke: var(--faint); stroke-width: 1 }
table { border-collapse: collapse } th, td { text-align: right; padding: 0.2rem 0.7rem }
th:first-child { text-align: left } thead th { border-bottom: 1px solid var(--faint) }
";

impl Report {
    /// A page for a browser.
    pub fn to_html(&self) -> String {
        let mut page =
            String::from("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
        let title = format!("Load test of {}", self.plan.urls.join(", "));
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n<p>{}<br>{}, {}</p>",
            escaped(&self.plan.to_string()),
            escaped(&self.time),
            escaped(&self.machine),
            title = escaped(&title),
        );
        if let Some(end) = self.early_end() {
            let _ = writeln!(page, "<p><strong>{}</strong></p>", escaped(&end));
        }
        self.put_times(&mut page);
        if !self.measure.delivery_histogram.is_empty() {
            self.put_measurement(&mut page);
        }
        if self.connect.opened > 0 {
            self.put_ramp(&mut page);
        }
        let _ = writeln!(
            page,
            "<h2>In words</h2>\n<pre>{}</pre>\n</html>",
            escaped(&self.to_string())
        );
        page
    }

    fn put_times(&self, page: &mut String) {
        let handshake = ("handshake", self.connect.handshake_us);
        let rows = [handshake].into_iter().chain(self.measure.times());
        let mut rows = rows
            .filter_map(|(name, times)| Some((name, times?)))
            .peekable();
        if rows.peek().is_none() {
            return;
        }
        page.push_str("<table>\n<thead><tr><th></th>");
        for head in COLUMNS {
            let _ = write!(page, "<th scope=\"col\">{head}</th>");
        }
        page.push_str("</tr></thead>\n<tbody>\n");
        for (name, times) in rows {
            let _ = write!(page, "<tr><th scope=\"row\">{name}</th>");
            for figure in times.columns() {
                let _ = write!(page, "<td>{}</td>", Micros(figure));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody>\n</table>\n");
    }

    fn put_ramp(&self, page: &mut String) {
        let ramp = self.connect.ramp.iter();
        let opened = ramp.map(|point| (point.seconds, point.opened as f64));
        let line = Line {
            class: "one",
            name: "open",
            points: std::iter::once((0.0, 0.0)).chain(opened).collect(),
        };
        let plot = lines(&[line], |count| grouped(count.round() as u64));
        put_figure(page, "ramp", "Connections while they were opened", &plot);
    }

    fn put_measurement(&self, page: &mut String) {
        let measure = &self.measure;
        let all = measure.deliveries as f64;
        let histogram = measure.delivery_histogram.iter();
        let histogram: Vec<_> = histogram
            .map(|bar| {
                (
                    Micros(bar.up_to_us).to_string(),
                    bar.count as f64 / all * 100.0,
                )
            })
            .collect();
        put_figure(
            page,
            "latency",
            "Deliveries by the time that they took",
            &bars(&histogram, |share| format!("{share:.1} %")),
        );
        if measure.everywhere > 0 {
            let points = || measure.course.iter().filter(|point| point.everywhere > 0);
            let mean = points().map(|point| (point.seconds, point.last_mean_us));
            let longest = points().map(|point| (point.seconds, point.last_max_us));
            let plot = [
                Line {
                    class: "two",
                    name: "longest",
                    points: longest.collect(),
                },
                Line {
                    class: "one",
                    name: "mean",
                    points: mean.collect(),
                },
            ];
            let caption = "Time to the last receiver: <span class=\"one\">mean</span> and \
                           <span class=\"two\">longest</span> of each interval";
            put_figure(
                page,
                "last",
                caption,
                &lines(&plot, |micros| Micros(micros).to_string()),
            );
        }
    }
}

fn put_figure(page: &mut String, id: &str, caption: &str, svg: &str) {
    let _ = writeln!(
        page,
        "<figure id=\"{id}\">\n<figcaption>{caption}</figcaption>\n{svg}\n</figure>"
    );
}

/// As text in HTML, within quotes too.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use crate::fanout::report::tests::report;

    #[test]
    fn what_was_not_measured_has_no_place_on_the_page() {
        let mut report = report();
        report.outcome = "no connection could be opened".to_owned();
        let page = report.to_html();
        assert!(page.contains("<strong>Ended early: no connection could be opened.</strong>"));
        for absent in ["<table", "<figure", "NaN"] {
            assert!(!page.contains(absent), "{absent} in {page}");
        }
    }
}
