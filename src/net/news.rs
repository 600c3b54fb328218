//! How loud a condition is told that lasts or comes back again and again. Pure: time is an argument.

use std::time::Instant;

use log::Level;

use crate::config::limits::TELL_INTERVAL;

/// When a condition was told last.
#[derive(Debug, Default)]
pub(crate) struct News {
    told_at: Option<Instant>,
}

impl News {
    /// A warning once in an interval; in between only for those who ask for detail.
    pub(crate) fn level(&mut self, now: Instant) -> Level {
        level_of(self.is_news(now))
    }

    /// Whether it was not told for an interval; then it is now.
    pub(crate) fn is_news(&mut self, now: Instant) -> bool {
        let is_news = self
            .told_at
            .is_none_or(|told_at| now >= told_at + TELL_INTERVAL);
        if is_news {
            self.told_at = Some(now);
        }
        is_news
    }
}

/// A warning if it is news, otherwise only for those who ask for detail.
pub(crate) fn level_of(is_news: bool) -> Level {
    if is_news { Level::Warn } else { Level::Debug }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_lasts_is_told_once_in_an_interval() {
        let start = Instant::now();
        let mut news = News::default();
        let second = Duration::from_secs(1);
        assert_eq!(news.level(start), Level::Warn);
        assert_eq!(news.level(start + TELL_INTERVAL - second), Level::Debug);
        assert_eq!(news.level(start + TELL_INTERVAL), Level::Warn);
        assert_eq!(news.level(start + TELL_INTERVAL + second), Level::Debug);
        assert!(news.is_news(start + 2 * TELL_INTERVAL));
    }
}
