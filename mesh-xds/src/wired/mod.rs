//! Both machines wired together in memory: random histories against the promises that the rest
//! of the mesh relies on.

mod agreement;
mod bytes;
mod history;
mod network;
mod observer;

const A: &str = "type/a";
const B: &str = "type/b";
const COMMIT: &str = "type/commit";
const TYPES: [&str; 3] = [A, B, COMMIT];
const REVISION: &str = "revision";
