//! Names that factors of efficiencies are kept under, as numbers.

use std::collections::HashMap;

/// No name at this level.
pub(super) const NOBODY: u16 = u16::MAX;

/// Names of families, devices and architectures that factors exist for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    names: Vec<String>,
    numbers: HashMap<String, u16>,
}

impl Vocabulary {
    /// The number of `name`, if it has one.
    pub fn number(&self, name: &str) -> Option<u16> {
        self.numbers.get(name).copied()
    }

    /// The number of `name`, given one if it has none yet.
    ///
    /// # Panics
    ///
    /// With more than 65,534 names, which no data file holds.
    pub fn insert(&mut self, name: &str) -> u16 {
        if let Some(number) = self.number(name) {
            return number;
        }
        let number = u16::try_from(self.names.len()).ok().filter(|&number| number != NOBODY);
        let number = number.expect("data files name some hundred devices and architectures");
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    pub(super) fn name(&self, number: u16) -> &str {
        self.names.get(usize::from(number)).map_or("", String::as_str)
    }
}
