//! The operators without the sandbox: `dflow-host plugin bench` compares.

fn main() -> Result<(), String> {
    dflow_plugin::testing::native(&NAME::PLUGIN, concat!(env!("CARGO_MANIFEST_DIR"), "/cases").as_ref())
}
