//! `token2` as arrow-udf has it: a function of one text.

use arrow_udf::function;

#[function("token2(string) -> string")]
fn token2(text: &str) -> Option<&str> {
    text.split(' ').nth(1)
}
