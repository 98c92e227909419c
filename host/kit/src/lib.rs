//! What does somebody need who writes a plugin?
//!
//! Start with [`Workbench`], which loads a component and gives its operators rows. [`Project`] is a plugin's source folder, which [`create`]
//! makes and [`Project::build`] makes a component of; [`test`] holds a component against cases in files, [`verify`] against what every operator
//! must keep, [`measure`] says how fast it is, and [`differences`] what is new in another version of it.
//!
//! Deliberately absent: pipelines. What a plugin does in one is tested by the pipeline's own `[[test]]`.

mod answer;
mod building;
mod differences;
mod error;
mod measure;
mod project;
mod sdk;
mod templates;
mod test;
mod verify;
mod workbench;

pub use building::componentize;
pub use differences::{Difference, differences};
pub use error::KitError;
pub use measure::{Measured, measure};
pub use project::{Language, Project};
pub use sdk::Sdk;
pub use templates::create;
pub use test::{Tested, test};
pub use verify::{Check, Verdict, Verified, VerifiedOperator, resolved, verify};
pub use workbench::Workbench;
