//! Stop strings in streamed text.

use super::error::SamplingError;

/// What can be shown after a piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopStep {
    /// Text that is surely no part of a stop string.
    pub text: String,
    /// The stop string that was found, by its position in the list.
    pub stop: Option<usize>,
}

/// Finds stop strings, holding back what may be the start of one.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
    is_stopped: bool,
}

impl StopMatcher {
    /// Looks for any of `stops`.
    pub fn new(stops: Vec<String>) -> Result<Self, SamplingError> {
        if stops.iter().any(String::is_empty) {
            return Err(SamplingError::EmptyStop);
        }
        Ok(Self { stops, held: String::new(), is_stopped: false })
    }

    /// Takes the next piece of text. After a stop string, nothing comes any more.
    pub fn push(&mut self, text: &str) -> StopStep {
        if self.is_stopped {
            return StopStep::default();
        }
        self.held.push_str(text);
        // The match that ends first is the one that was complete first.
        let ends = |(index, stop): (usize, &String)| {
            self.held.find(stop.as_str()).map(|start| (start + stop.len(), start, index))
        };
        if let Some((_, start, index)) = self.stops.iter().enumerate().filter_map(ends).min() {
            self.held.truncate(start);
            self.is_stopped = true;
            return StopStep { text: std::mem::take(&mut self.held), stop: Some(index) };
        }
        let kept = self.held.len() - self.open_bytes();
        let rest = self.held.split_off(kept);
        StopStep { text: std::mem::replace(&mut self.held, rest), stop: None }
    }

    /// What was held back, once no more text comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Whether a stop string was found.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Bytes of the longest end of the text that starts a stop string.
    fn open_bytes(&self) -> usize {
        let open = |stop: &String| {
            let most = (stop.len() - 1).min(self.held.len());
            (1..=most).rev().find(|&length| {
                stop.is_char_boundary(length) && self.held.as_bytes().ends_with(&stop.as_bytes()[..length])
            })
        };
        self.stops.iter().filter_map(open).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stops: &[&str], pieces: &[&str], shown: &str, stop: Option<usize>) {
        let mut matcher = StopMatcher::new(stops.iter().map(|&stop| stop.to_owned()).collect()).unwrap();
        let (mut text, mut found) = (String::new(), None);
        for piece in pieces {
            let step = matcher.push(piece);
            text.push_str(&step.text);
            found = found.or(step.stop);
        }
        text.push_str(&matcher.finish());
        assert_eq!((text.as_str(), found), (shown, stop), "{pieces:?}");
        assert_eq!(matcher.is_stopped(), stop.is_some());
    }

    #[test]
    fn stops_are_found_across_pieces() {
        check(&["END"], &["a", "E", "N", "D", "b"], "a", Some(0));
        check(&["END"], &["aEN", "x"], "aENx", None);
        check(&["END"], &["aEN"], "aEN", None);
        check(&["\n\nUser:", "###"], &["one\n", "\nUse", "d #", "# ", "###x"], "one\n\nUsed ## ", Some(1));
        check(&["aab"], &["a", "a", "a", "b"], "a", Some(0));
        check(&["é!"], &["é", "é", "!"], "é", Some(0));
        check(&[], &["a"], "a", None);
    }

    #[test]
    fn the_first_to_be_complete_wins() {
        check(&["abcd", "bc"], &["xabcd"], "xa", Some(1));
        check(&["cd", "abcd"], &["xab", "cd"], "x", Some(1));
        assert_eq!(StopMatcher::new(vec![String::new()]).unwrap_err(), SamplingError::EmptyStop);
    }

    #[test]
    fn however_text_is_cut_the_same_is_shown() {
        let text = "abababbbaabaabbabab";
        let mut random = super::super::Random::new(11);
        for stops in [vec!["abb", "bbaa"], vec!["aabaabb"], vec!["c"]] {
            let whole = |pieces: &[&str]| {
                let mut matcher = StopMatcher::new(stops.iter().map(|&stop| stop.to_owned()).collect()).unwrap();
                let mut shown: String = pieces.iter().map(|piece| matcher.push(piece).text).collect();
                shown.push_str(&matcher.finish());
                shown
            };
            let expected = whole(&[text]);
            for _ in 0..50 {
                let (mut pieces, mut rest) = (Vec::new(), text);
                while !rest.is_empty() {
                    let length = 1 + usize::try_from(random.bits()).unwrap() % rest.len();
                    pieces.push(&rest[..length]);
                    rest = &rest[length..];
                }
                assert_eq!(whole(&pieces), expected, "{pieces:?}");
            }
        }
    }
}
