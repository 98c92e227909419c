//! Splits that are held once, whoever has some of them: of many files each copy is much.

use std::{
    ops::{Deref, Range},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::Split;

/// Some of a source's splits, which follow each other there. Cheap to clone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Arc<[Split]>", into = "Arc<[Split]>")]
pub struct Splits {
    all: Arc<[Split]>,
    range: Range<usize>,
}

impl Splits {
    /// Those at some places among these.
    #[must_use]
    pub fn part(&self, places: Range<usize>) -> Self {
        Self { all: self.all.clone(), range: self.range.start + places.start..self.range.start + places.end }
    }

    /// They alone: copied, unless they are all that there are.
    pub fn alone(&self) -> Arc<[Split]> {
        if self.len() == self.all.len() { self.all.clone() } else { Arc::from(&**self) }
    }
}

impl Deref for Splits {
    type Target = [Split];

    fn deref(&self) -> &[Split] {
        &self.all[self.range.clone()]
    }
}

impl From<Arc<[Split]>> for Splits {
    fn from(all: Arc<[Split]>) -> Self {
        Self { range: 0..all.len(), all }
    }
}

impl From<Vec<Split>> for Splits {
    fn from(splits: Vec<Split>) -> Self {
        Arc::<[Split]>::from(splits).into()
    }
}

impl From<Splits> for Arc<[Split]> {
    fn from(splits: Splits) -> Self {
        splits.alone()
    }
}

impl PartialEq for Splits {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_of_the_same_splits() {
        let split = |path: &str| Split {
            volume: String::new(),
            path: path.to_owned(),
            size: 1,
            modified: 0,
            range: None,
            etag: String::new(),
        };
        let paths = |splits: &Splits| splits.iter().map(|split| split.path.clone()).collect::<String>();
        let all = Splits::from(["a", "b", "c", "d", "e"].map(split).to_vec());
        let part = all.part(1..4);
        let none = [all.part(5..5), Splits::default()];
        assert_eq!([&all, &part, &part.part(1..3), &none[0], &none[1]].map(paths), ["abcde", "bcd", "cd", "", ""]);
        assert!(std::ptr::eq(&all[1], &part[0]) && std::ptr::eq(&all[0], &all.alone()[0]));
        assert_eq!(*part.alone(), *part);

        let json = serde_json::to_string(&part).unwrap();
        assert_eq!(json, serde_json::to_string(&part.to_vec()).unwrap());
        assert_eq!(serde_json::from_str::<Splits>(&json).unwrap(), part);
        assert_ne!(part, all.part(0..3));
    }
}
