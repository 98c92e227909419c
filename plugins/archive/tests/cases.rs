//! The cases in `cases/`, run natively.

dflow_plugin::testing::cases!(archive::PLUGIN);
