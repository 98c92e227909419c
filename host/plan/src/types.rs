//! Names of types, as pipelines and tables write them.
//!
//! Every type has a name that reads back: `int64`, `decimal128(10, 2)`, `timestamp(us, UTC)`, `list<utf8>`,
//! `struct<a: int64, "b c": utf8>`. Columns of text and bytes are views throughout the engine and plain below other types, and
//! both are called `utf8` and `binary`. A name doesn't say whether values below a type may be null, nor how Arrow calls the
//! item of a list.

use std::{fmt::Write, sync::Arc};

use datafusion::arrow::{
    array::timezone::Tz,
    datatypes::{
        DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType,
        Field, FieldRef, IntervalUnit, TimeUnit, UnionFields, UnionMode,
    },
};

/// Names without parameters, and what they mean below other types.
const NAMES: &[(&str, DataType)] = &[
    ("null", DataType::Null),
    ("bool", DataType::Boolean),
    ("int8", DataType::Int8),
    ("int16", DataType::Int16),
    ("int32", DataType::Int32),
    ("int64", DataType::Int64),
    ("uint8", DataType::UInt8),
    ("uint16", DataType::UInt16),
    ("uint32", DataType::UInt32),
    ("uint64", DataType::UInt64),
    ("float16", DataType::Float16),
    ("float32", DataType::Float32),
    ("float64", DataType::Float64),
    ("utf8", DataType::Utf8),
    ("large_utf8", DataType::LargeUtf8),
    ("utf8_view", DataType::Utf8View),
    ("binary", DataType::Binary),
    ("large_binary", DataType::LargeBinary),
    ("binary_view", DataType::BinaryView),
    ("date", DataType::Date32),
    ("date64", DataType::Date64),
];

/// Types with parameters, an example each.
const EXAMPLES: &[&str] = &[
    "decimal32(9, 2)",
    "decimal64(18, 2)",
    "decimal128(10, 2)",
    "decimal256(76, 2)",
    "time32(ms)",
    "time64(us)",
    "timestamp",
    "timestamp(us)",
    "timestamp(us, UTC)",
    "duration(us)",
    "interval(month_day_nano)",
    "fixed_size_binary(16)",
    "list<utf8>",
    "large_list<utf8>",
    "list_view<utf8>",
    "large_list_view<utf8>",
    "fixed_size_list<float32, 3>",
    "struct<a: int64, b: utf8>",
    "map<utf8, int64>",
    "dictionary<int32, utf8>",
    "run_end_encoded<int32, utf8>",
    "sparse_union<a: int64, b: utf8>",
    "dense_union<a: int64, b: utf8>",
];

/// The deepest nesting that is read.
const DEEPEST: usize = 32;

/// A column's type by its name: `utf8`, `int64`, `list<float32>`, `timestamp`. `None` when it isn't one.
pub fn parse_type(text: &str) -> Option<DataType> {
    let mut reader = Reader { rest: text };
    let data_type = reader.data_type(0)?;
    match data_type {
        _ if !reader.rest.trim().is_empty() => None,
        DataType::Utf8 => Some(DataType::Utf8View),
        DataType::Binary => Some(DataType::BinaryView),
        other => Some(other),
    }
}

/// The names that [`parse_type`] knows, and an example of each that has parameters.
pub(crate) fn type_names() -> Vec<&'static str> {
    NAMES.iter().map(|(name, _)| *name).chain(EXAMPLES.iter().copied()).collect()
}

/// What is left of a name.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Whether this comes next; it is then read.
    fn next_is(&mut self, symbol: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(symbol);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, symbol: char) -> Option<()> {
        self.next_is(symbol).then_some(())
    }

    /// Text up to a symbol that has a meaning.
    fn word(&mut self) -> &'a str {
        let text = self.rest.trim_start();
        let end = text.find(['<', '>', '(', ')', ',', ':', '[', ']', '"']).unwrap_or(text.len());
        self.rest = &text[end..];
        text[..end].trim_end()
    }

    /// A member's name: a word, or anything in quotes.
    fn name(&mut self) -> Option<String> {
        if !self.next_is('"') {
            return Some(self.word().to_owned()).filter(|word| !word.is_empty());
        }
        let mut name = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((i, c)) = characters.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[i + 1..];
                    return Some(name);
                }
                '\\' => name.push(characters.next()?.1),
                c => name.push(c),
            }
        }
        None
    }

    fn number<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.word().parse().ok()
    }

    fn unit(&mut self) -> Option<TimeUnit> {
        let word = self.word();
        UNITS.iter().find(|(name, _)| *name == word).map(|(_, unit)| *unit)
    }

    fn item(&mut self, name: &str, depth: usize) -> Option<FieldRef> {
        Some(Arc::new(Field::new(name, self.data_type(depth + 1)?, true)))
    }

    fn members(&mut self, depth: usize) -> Option<Vec<FieldRef>> {
        let mut members = Vec::new();
        while !self.next_is('>') {
            if !members.is_empty() {
                self.expect(',')?;
            }
            let name = self.name()?;
            self.expect(':')?;
            members.push(self.item(&name, depth)?);
        }
        Some(members)
    }

    fn union(&mut self, mode: UnionMode, depth: usize) -> Option<DataType> {
        let (mut ids, mut members) = (Vec::new(), Vec::new());
        while !self.next_is('>') {
            if !members.is_empty() {
                self.expect(',')?;
            }
            // Type ids that don't count from zero are written before the names.
            if self.next_is('[') {
                ids.push(self.number::<i8>()?);
                self.expect(']')?;
            } else {
                ids.push(i8::try_from(members.len()).ok()?);
            }
            let name = self.name()?;
            self.expect(':')?;
            members.push(self.item(&name, depth)?);
        }
        (!members.is_empty()).then(|| UnionFields::try_new(ids, members).ok().map(|m| DataType::Union(m, mode)))?
    }

    fn decimal(&mut self, most: u8, make: fn(u8, i8) -> DataType) -> Option<DataType> {
        self.expect('(')?;
        let precision = self.number::<u8>().filter(|p| (1..=most).contains(p))?;
        self.expect(',')?;
        let scale = self.number::<i8>().filter(|s| i16::from(*s) <= i16::from(precision))?;
        self.expect(')')?;
        Some(make(precision, scale))
    }

    fn data_type(&mut self, depth: usize) -> Option<DataType> {
        if depth > DEEPEST {
            return None;
        }
        let word = self.word();
        if let Some((_, data_type)) = NAMES.iter().find(|(name, _)| *name == word) {
            return Some(data_type.clone());
        }
        let open = match word {
            "timestamp" if !self.rest.starts_with('(') => {
                return Some(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
            }
            "date32" => return Some(DataType::Date32),
            "decimal32" => return self.decimal(DECIMAL32_MAX_PRECISION, DataType::Decimal32),
            "decimal64" => return self.decimal(DECIMAL64_MAX_PRECISION, DataType::Decimal64),
            "decimal128" => return self.decimal(DECIMAL128_MAX_PRECISION, DataType::Decimal128),
            "decimal256" => return self.decimal(DECIMAL256_MAX_PRECISION, DataType::Decimal256),
            "timestamp" | "time32" | "time64" | "duration" | "interval" | "fixed_size_binary" => '(',
            _ => '<',
        };
        self.expect(open)?;
        let data_type = match word {
            "timestamp" => {
                let unit = self.unit()?;
                let zone = if self.next_is(',') { Some(self.zone()?) } else { None };
                DataType::Timestamp(unit, zone)
            }
            "time32" => {
                DataType::Time32(self.unit().filter(|u| matches!(u, TimeUnit::Second | TimeUnit::Millisecond))?)
            }
            "time64" => {
                DataType::Time64(self.unit().filter(|u| matches!(u, TimeUnit::Microsecond | TimeUnit::Nanosecond))?)
            }
            "duration" => DataType::Duration(self.unit()?),
            "interval" => {
                let word = self.word();
                DataType::Interval(INTERVALS.iter().find(|(name, _)| *name == word)?.1)
            }
            "fixed_size_binary" => DataType::FixedSizeBinary(self.number().filter(|n| *n >= 0)?),
            "list" => DataType::List(self.item("item", depth)?),
            "large_list" => DataType::LargeList(self.item("item", depth)?),
            "list_view" => DataType::ListView(self.item("item", depth)?),
            "large_list_view" => DataType::LargeListView(self.item("item", depth)?),
            "fixed_size_list" => {
                let item = self.item("item", depth)?;
                self.expect(',')?;
                DataType::FixedSizeList(item, self.number().filter(|n| *n >= 0)?)
            }
            "map" => {
                let key = Field::new("key", self.data_type(depth + 1)?, false);
                self.expect(',')?;
                let value = Field::new("value", self.data_type(depth + 1)?, true);
                let sorted = self.next_is(',');
                if sorted && self.word() != "sorted" {
                    return None;
                }
                let entries = DataType::Struct(vec![key, value].into());
                DataType::Map(Arc::new(Field::new("entries", entries, false)), sorted)
            }
            "dictionary" => {
                let keys = self.data_type(depth + 1).filter(DataType::is_dictionary_key_type)?;
                self.expect(',')?;
                DataType::Dictionary(Box::new(keys), Box::new(self.data_type(depth + 1)?))
            }
            "run_end_encoded" => {
                let ends = self.data_type(depth + 1).filter(DataType::is_run_ends_type)?;
                self.expect(',')?;
                DataType::RunEndEncoded(Arc::new(Field::new("run_ends", ends, false)), self.item("values", depth)?)
            }
            // These read their closing bracket.
            "struct" => return Some(DataType::Struct(self.members(depth)?.into())),
            "sparse_union" => return self.union(UnionMode::Sparse, depth),
            "dense_union" => return self.union(UnionMode::Dense, depth),
            _ => return None,
        };
        self.expect(if open == '(' { ')' } else { '>' })?;
        Some(data_type)
    }

    /// A time zone: `UTC`, `Europe/Berlin`, `+01:30`.
    fn zone(&mut self) -> Option<Arc<str>> {
        let end = self.rest.find(')')?;
        let zone = self.rest[..end].trim();
        self.rest = &self.rest[end..];
        zone.parse::<Tz>().is_ok().then(|| zone.into())
    }
}

const UNITS: &[(&str, TimeUnit)] = &[
    ("s", TimeUnit::Second),
    ("ms", TimeUnit::Millisecond),
    ("us", TimeUnit::Microsecond),
    ("ns", TimeUnit::Nanosecond),
];

const INTERVALS: &[(&str, IntervalUnit)] = &[
    ("year_month", IntervalUnit::YearMonth),
    ("day_time", IntervalUnit::DayTime),
    ("month_day_nano", IntervalUnit::MonthDayNano),
];

/// Whether the values of a type have nothing in them, which DataFusion's groups stumble on.
pub(crate) fn is_void(data_type: &DataType) -> bool {
    match data_type {
        DataType::FixedSizeBinary(0) | DataType::FixedSizeList(_, 0) => true,
        DataType::Struct(members) => members.is_empty() || members.iter().any(|member| is_void(member.data_type())),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => is_void(item.data_type()),
        DataType::Dictionary(_, value) => is_void(value),
        _ => false,
    }
}

/// Whether the values of a type can be read from csv.
pub(crate) fn in_csv(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => **value == DataType::Utf8,
        DataType::LargeUtf8 | DataType::Duration(_) | DataType::Interval(_) | DataType::RunEndEncoded(..) => false,
        other => !other.is_binary() && !other.is_nested(),
    }
}

/// A column's type as tables show it; [`parse_type`] reads it back.
pub fn type_text(data_type: &DataType) -> String {
    match data_type {
        // The engine's own.
        DataType::Utf8View => "utf8".to_owned(),
        DataType::BinaryView => "binary".to_owned(),
        other => nested_text(other),
    }
}

fn nested_text(data_type: &DataType) -> String {
    let unit = |unit: &TimeUnit| UNITS.iter().find(|(_, u)| u == unit).map_or("", |(name, _)| *name);
    let of = |name: &str, item: &FieldRef| format!("{name}<{}>", nested_text(item.data_type()));
    if let Some((name, _)) = NAMES.iter().find(|(_, t)| t == data_type) {
        return (*name).to_owned();
    }
    match data_type {
        DataType::Decimal32(p, s) => format!("decimal32({p}, {s})"),
        DataType::Decimal64(p, s) => format!("decimal64({p}, {s})"),
        DataType::Decimal128(p, s) => format!("decimal128({p}, {s})"),
        DataType::Decimal256(p, s) => format!("decimal256({p}, {s})"),
        DataType::Time32(u) => format!("time32({})", unit(u)),
        DataType::Time64(u) => format!("time64({})", unit(u)),
        DataType::Timestamp(u, None) => format!("timestamp({})", unit(u)),
        DataType::Timestamp(u, Some(zone)) => format!("timestamp({}, {zone})", unit(u)),
        DataType::Duration(u) => format!("duration({})", unit(u)),
        DataType::Interval(u) => {
            format!("interval({})", INTERVALS.iter().find(|(_, i)| i == u).map_or("", |(name, _)| *name))
        }
        DataType::FixedSizeBinary(n) => format!("fixed_size_binary({n})"),
        DataType::List(item) => of("list", item),
        DataType::LargeList(item) => of("large_list", item),
        DataType::ListView(item) => of("list_view", item),
        DataType::LargeListView(item) => of("large_list_view", item),
        DataType::FixedSizeList(item, n) => format!("fixed_size_list<{}, {n}>", nested_text(item.data_type())),
        DataType::Struct(members) => format!("struct<{}>", members_text(members.iter().map(|m| (None, m)))),
        DataType::Map(entries, sorted) => {
            let sorted = if *sorted { ", sorted" } else { "" };
            match entries.data_type() {
                DataType::Struct(members) if members.len() == 2 => {
                    let (key, value) = (nested_text(members[0].data_type()), nested_text(members[1].data_type()));
                    format!("map<{key}, {value}{sorted}>")
                }
                other => format!("map<{}{sorted}>", nested_text(other)),
            }
        }
        DataType::Dictionary(keys, values) => format!("dictionary<{}, {}>", nested_text(keys), nested_text(values)),
        DataType::RunEndEncoded(ends, values) => {
            format!("run_end_encoded<{}, {}>", nested_text(ends.data_type()), nested_text(values.data_type()))
        }
        DataType::Union(members, mode) => {
            let counted = members.iter().enumerate().all(|(i, (id, _))| i as i64 == i64::from(id));
            let name = if *mode == UnionMode::Sparse { "sparse_union" } else { "dense_union" };
            let members = members.iter().map(|(id, member)| ((!counted).then_some(id), member));
            format!("{name}<{}>", members_text(members))
        }
        other => other.to_string().to_lowercase(),
    }
}

/// Members of a struct or a union, the latter with their type ids where those say something.
fn members_text<'a>(members: impl Iterator<Item = (Option<i8>, &'a FieldRef)>) -> String {
    let mut out = String::new();
    for (i, (id, member)) in members.enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        let id = id.map(|id| format!("[{id}] ")).unwrap_or_default();
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@' | '#' | '/');
        let name = match member.name() {
            name if !name.is_empty() && name.chars().all(word) => name.clone(),
            name => format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
        };
        write!(out, "{comma}{id}{name}: {}", nested_text(member.data_type())).expect("a string takes everything");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_shown() {
        for name in type_names().into_iter().filter(|name| *name != "timestamp" && !name.ends_with("_view")) {
            let data_type = parse_type(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(type_text(&data_type), name);
        }
        let more = [
            "list<list<utf8>>",
            "list<utf8_view>",
            "list<struct<a: map<utf8, list<decimal256(40, -3)>>, \"b, \\\"c\\\" \\\\\": null>>",
            "struct<>",
            "struct<größe: int8, x.y: int8>",
            "map<utf8, int64, sorted>",
            "timestamp(ns, Europe/Berlin)",
            "timestamp(s, +01:30)",
            "dense_union<[5] a: int64, [0] b: dictionary<int8, utf8>>",
        ];
        for name in more {
            assert_eq!(parse_type(name).map(|t| type_text(&t)).as_deref(), Some(name));
        }
        let same = [
            ("timestamp", "timestamp(us, UTC)"),
            ("date32", "date"),
            (" list < utf8 > ", "list<utf8>"),
            ("struct<a:int64,b:utf8>", "struct<a: int64, b: utf8>"),
            ("utf8_view", "utf8"),
            ("binary_view", "binary"),
        ];
        for (written, name) in same {
            assert_eq!(parse_type(written).map(|t| type_text(&t)).as_deref(), Some(name));
        }
    }

    #[test]
    fn types_without_anything_in_them_are_known() {
        for (text, void) in [
            ("struct<>", true),
            ("fixed_size_binary(0)", true),
            ("list<struct<a: int8, b: fixed_size_list<utf8, 0>>>", true),
            ("fixed_size_binary(1)", false),
            ("struct<a: list<utf8>>", false),
            ("null", false),
        ] {
            assert_eq!(parse_type(text).map(|data_type| is_void(&data_type)), Some(void), "{text}");
        }
    }

    #[test]
    fn what_is_no_type_is_not_read() {
        let wrong = [
            "",
            "string",
            "list",
            "list<",
            "list<>",
            "list<utf8",
            "list<utf8>>",
            "list<utf8>x",
            "utf8(3)",
            "int64<utf8>",
            "decimal128",
            "decimal128(10)",
            "decimal128(39, 0)",
            "decimal32(3, 4)",
            "decimal64(0, 0)",
            "time32(us)",
            "time64(s)",
            "timestamp(m)",
            "timestamp(us, Mars)",
            "timestamp(us",
            "interval(year)",
            "duration",
            "fixed_size_binary(-1)",
            "fixed_size_binary<3>",
            "fixed_size_list<utf8>",
            "fixed_size_list<utf8, -1>",
            "struct<a>",
            "struct<a: >",
            "struct<: int8>",
            "struct<a: int8 b: int8>",
            "struct<\"a: int8>",
            "map<utf8>",
            "map<utf8, int8, unsorted>",
            "dictionary<utf8, utf8>",
            "run_end_encoded<int8, utf8>",
            "sparse_union<>",
            "dense_union<[1] a: int8, [1] b: int8>",
            "dense_union<[-1] a: int8>",
        ];
        for text in wrong {
            assert_eq!(parse_type(text), None, "{text}");
        }
        assert_eq!(parse_type(&"list<".repeat(1_000_000)), None);
    }

    /// A type with at most `depth` levels below it, by a seed.
    fn random_type(seed: &mut u64, depth: usize) -> DataType {
        let mut below = |end: u64| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 33) % end
        };
        let names = type_names();
        if depth == 0 || below(3) == 0 {
            let parsed = parse_type(names[below(names.len() as u64) as usize]).expect("it is a name");
            // Below other types text is plain.
            return dflow_boundary::unviewed(&parsed);
        }
        let (kind, first, second) = (below(7), below(3), below(2) == 0);
        let name = ["plain", "with \"quotes\", and more", ""][first as usize];
        let inner = random_type(seed, depth - 1);
        let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
        match kind {
            0 => DataType::List(field("item", inner)),
            1 => DataType::FixedSizeList(field("item", inner), first as i32),
            2 => DataType::Struct(vec![field(name, inner), field("b", random_type(seed, depth - 1))].into()),
            3 => {
                let entries = vec![Arc::new(Field::new("key", DataType::Utf8, false)), field("value", inner)];
                DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries.into()), false)), second)
            }
            4 => DataType::Dictionary(Box::new(DataType::UInt16), Box::new(inner)),
            5 => DataType::LargeListView(field("item", inner)),
            _ => {
                let members =
                    UnionFields::try_new([0, 1 + first as i8], [field(name, inner), field("b", DataType::Int8)]);
                DataType::Union(members.expect("two ids"), if second { UnionMode::Sparse } else { UnionMode::Dense })
            }
        }
    }

    #[test]
    fn random_types_read_back() {
        for seed in 0..5_000 {
            let data_type = match random_type(&mut { seed }, 4) {
                DataType::Utf8 => DataType::Utf8View,
                DataType::Binary => DataType::BinaryView,
                other => other,
            };
            let text = type_text(&data_type);
            assert_eq!(parse_type(&text).as_ref(), Some(&data_type), "seed {seed}: {text}");
        }
    }
}
