//! What would have been asked: nobody answers, and it is noted.

use std::time::Duration;

use dflow_models::{
    exchange::Finish,
    money::Usage,
    records::{Content, Digest, From, Given},
};
use serde_json::Value;

use super::{Answer, Asker, Wanted, answer};

impl Asker {
    /// An answer that nobody gave: what would have been asked is noted.
    pub(super) fn rehearsed(&self, input: u64, cached: u64, question: Digest) -> Answer {
        let most = self.ask.max_tokens.map(u64::from);
        let [least, likely, highest] = match &self.ask.wanted {
            Wanted::Vector { .. } | Wanted::Closest(_) => [0, 0, 0],
            Wanted::Label(_) => [4, 10, 20],
            Wanted::Object(_) => {
                let fields = self.ask.output.fields().len() as u64;
                [5 * fields, 15 * fields, most.unwrap_or(100 * fields)]
            }
            Wanted::Text => [1, 256, most.unwrap_or(1024)],
        };
        let highest = most.map_or(highest, |most| highest.min(most));
        let output = [least.min(highest), likely.min(highest), highest];
        self.desk.rehearse(input, cached, output, self.ask.share.map(|_| question));
        let words = "word ".repeat(output[1] as usize * 4 / 5);
        let (value, vector) = match &self.ask.wanted {
            Wanted::Vector { length, .. } => (Value::Null, vec![0.0; *length as usize]),
            Wanted::Closest(labels) => (labels[0].0.as_str().into(), Vec::new()),
            Wanted::Label(shape) => (shape.schema["properties"]["label"]["enum"][0].clone(), Vec::new()),
            Wanted::Object(shape) => {
                let own = self.ask.output.fields().len() - usize::from(self.ask.usage);
                let fields = self.ask.output.fields().iter().take(own).zip(shape.members());
                let members = fields.map(|(field, name)| (name.clone(), answer::placeholder(field.data_type())));
                (members.collect(), Vec::new())
            }
            Wanted::Text => (words.into(), Vec::new()),
        };
        let given = Given {
            content: Content::Text(String::new()),
            finish: Finish::Stop,
            model: self.desk.resource(),
            usage: Usage { input, cached_input: cached, output: output[1], ..Usage::default() },
            cost: None,
            latency: Duration::ZERO,
            attempts: 1,
        };
        Answer { value, object: None, vector, given, from: From::Asked }
    }
}
