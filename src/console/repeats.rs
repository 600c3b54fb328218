//! Log lines that come again and again. Pure: the minute is an argument.
//!
//! Each place in the program that has something to say says it so many times a minute. What it says beyond that is
//! counted, and told as a sum when the minute is over. A place that had more to say than that has a single line in the
//! next minute, and so on until it is calm: what lasts for days takes two lines a minute, whoever causes it.

use std::collections::BTreeMap;

use log::{Level, Record};
use wsmesh::Excerpt;
use wsmesh::config::limits::LOG_PLACES_MAX;

/// What each place has said in this minute.
#[derive(Debug)]
pub(super) struct Repeats {
    /// Lines of one place in a minute.
    lines_max: usize,
    /// Since 1970.
    minute: i64,
    places: BTreeMap<Place, Said>,
    /// Somebody knows that a sum is to be told when the minute is over.
    is_awaited: bool,
}

/// Where in the program a line comes from, and how loud it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: &'static str,
    line: u32,
    level: Level,
}

#[derive(Debug)]
struct Said {
    lines: usize,
    lines_max: usize,
    /// Whether it has had more to say.
    is_over: bool,
    /// Lines that are in no sum yet.
    left_out: u64,
    target: String,
    /// The beginning of the last line that was written.
    example: String,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Write,
    /// It is counted; `is_first`: and it is for the caller to see to it that the sum is told.
    LeaveOut {
        is_first: bool,
    },
}

/// How many lines of a place were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) level: Level,
    pub(super) target: String,
    pub(super) text: String,
}

impl Repeats {
    pub(super) fn new(lines_max: usize) -> Self {
        Self {
            lines_max,
            minute: i64::MIN,
            places: BTreeMap::new(),
            is_awaited: false,
        }
    }

    /// It is this minute now; what is returned is of the one before.
    pub(super) fn on_minute(&mut self, minute: i64) -> Vec<Sum> {
        if minute == self.minute {
            return Vec::new();
        }
        let sums = self.take_sums();
        let is_next = self.minute.checked_add(1) == Some(minute);
        self.places.retain(|_, said| is_next && said.is_over);
        for said in self.places.values_mut() {
            (said.lines, said.lines_max, said.is_over) = (0, 1, false);
        }
        self.minute = minute;
        sums
    }

    /// Counts a line of this minute.
    pub(super) fn on_line(&mut self, record: &Record<'_>) -> Verdict {
        let place = self.place_of(record);
        let said = self.places.entry(place).or_insert_with(|| Said {
            lines: 0,
            lines_max: self.lines_max,
            is_over: false,
            left_out: 0,
            target: String::new(),
            example: String::new(),
        });
        if said.lines < said.lines_max {
            said.lines += 1;
            if said.lines == said.lines_max {
                said.target = record.target().to_owned();
                said.example = Excerpt(&record.args().to_string()).to_string();
            }
            return Verdict::Write;
        }
        said.is_over = true;
        said.left_out += 1;
        let is_first = !std::mem::replace(&mut self.is_awaited, true);
        Verdict::LeaveOut { is_first }
    }

    /// What is to be told of what was left out.
    pub(super) fn take_sums(&mut self) -> Vec<Sum> {
        self.is_awaited = false;
        let all = self.places.iter_mut();
        let sums = all.filter(|(_, said)| said.left_out > 0);
        let sums = sums.map(|(place, said)| Sum {
            level: place.level,
            target: said.target.clone(),
            text: format!(
                "… {} more in the last minute like: {}",
                std::mem::take(&mut said.left_out),
                said.example
            ),
        });
        sums.collect()
    }

    /// Whether this minute has not been left yet.
    pub(super) fn is_in(&self, minute: i64) -> bool {
        self.minute == minute
    }

    fn place_of(&self, record: &Record<'_>) -> Place {
        let place = Place {
            file: record.file_static().unwrap_or_default(),
            line: record.line().unwrap_or_default(),
            level: record.level(),
        };
        match self.places.len() < LOG_PLACES_MAX || self.places.contains_key(&place) {
            true => place,
            // One for all that there is no room for.
            false => Place {
                file: "",
                line: 0,
                ..place
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of a place in the program.
    fn say(repeats: &mut Repeats, line: u32, level: Level, text: &str) -> Verdict {
        repeats.on_line(
            &Record::builder()
                .level(level)
                .target("wsmesh::net")
                .file_static(Some("src/net.rs"))
                .line(Some(line))
                .args(format_args!("{text}"))
                .build(),
        )
    }

    /// How many of so many lines are written.
    fn written(repeats: &mut Repeats, line: u32, count: usize) -> usize {
        let verdicts = (0..count).map(|at| say(repeats, line, Level::Warn, &format!("no. {at}")));
        verdicts
            .filter(|verdict| *verdict == Verdict::Write)
            .count()
    }

    fn sum(left_out: u64, example: &str) -> Sum {
        Sum {
            level: Level::Warn,
            target: "wsmesh::net".to_owned(),
            text: format!("… {left_out} more in the last minute like: {example}"),
        }
    }

    #[test]
    fn each_place_has_so_many_lines_a_minute_and_a_sum() {
        let mut repeats = Repeats::new(3);
        assert_eq!(repeats.on_minute(7), []);
        assert_eq!(written(&mut repeats, 1, 3), 3);
        let left_out = |is_first| Verdict::LeaveOut { is_first };
        assert_eq!(say(&mut repeats, 1, Level::Warn, "x"), left_out(true));
        assert_eq!(say(&mut repeats, 1, Level::Warn, "x"), left_out(false));
        // Another place, and the same with something else to say.
        assert_eq!(written(&mut repeats, 2, 5), 3);
        assert_eq!(say(&mut repeats, 1, Level::Info, "calm"), Verdict::Write);
        assert_eq!(repeats.on_minute(7), []);
        assert_eq!(repeats.on_minute(8), [sum(2, "no. 2"), sum(2, "no. 2")]);
        assert_eq!(repeats.take_sums(), []);
    }

    #[test]
    fn what_lasts_is_said_once_a_minute_until_it_is_calm() {
        let mut repeats = Repeats::new(3);
        repeats.on_minute(1);
        assert_eq!(written(&mut repeats, 1, 10), 3);
        for minute in 2..5 {
            repeats.on_minute(minute);
            assert_eq!(written(&mut repeats, 1, 10), 1, "{minute}");
            assert_eq!(repeats.take_sums(), [sum(9, "no. 0")]);
        }
        repeats.on_minute(5);
        assert_eq!(written(&mut repeats, 1, 1), 1, "and no more than that");
        repeats.on_minute(6);
        assert_eq!(written(&mut repeats, 1, 10), 3);
        // Nothing for a minute, or a clock that was put back.
        for minute in [8, 2] {
            assert_eq!(repeats.on_minute(minute).len(), 1);
            assert_eq!(written(&mut repeats, 1, 10), 3);
        }
    }

    #[test]
    fn a_sum_that_is_told_early_forgets_nothing() {
        let mut repeats = Repeats::new(1);
        repeats.on_minute(1);
        assert_eq!(written(&mut repeats, 1, 3), 1);
        assert_eq!(repeats.take_sums(), [sum(2, "no. 0")]);
        assert_eq!(written(&mut repeats, 1, 4), 0);
        assert_eq!(repeats.on_minute(2), [sum(4, "no. 0")]);
    }

    #[test]
    fn what_a_stranger_chose_is_cut_in_a_sum() {
        let mut repeats = Repeats::new(1);
        repeats.on_minute(1);
        let long = "x".repeat(10_000);
        say(&mut repeats, 1, Level::Warn, &long);
        say(&mut repeats, 1, Level::Warn, &long);
        let sums = repeats.take_sums();
        assert!(sums[0].text.len() < 200, "{}", sums[0].text.len());
    }

    #[test]
    fn there_is_room_for_so_many_places() {
        let mut repeats = Repeats::new(1);
        repeats.on_minute(1);
        for line in 0..10_000 {
            let _ = say(&mut repeats, line, Level::Warn, "x");
        }
        assert_eq!(repeats.places.len(), LOG_PLACES_MAX + 1);
        let told: usize = repeats.take_sums().len();
        assert_eq!(told, 1, "one for all that there was no room for");
        // Those that are known are not pushed out, and other levels have another one.
        assert_eq!(say(&mut repeats, 0, Level::Error, "x"), Verdict::Write);
        assert_eq!(repeats.places.len(), LOG_PLACES_MAX + 2);
    }
}
