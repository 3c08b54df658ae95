//! `cargo xtask build-ebpf`: compiles the eBPF programs and puts the finished objects where the
//! agent's build script and the benchmarks look for them.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::toolchain::{TARGET, Toolchain};
use crate::workspace::Workspace;
use crate::{process, ui};

/// Binary of the crate mesh-ebpf, and the name that its object gets.
const OBJECTS: [(&str, &str); 2] = [("mesh-ebpf", "mesh.bpf.o"), ("mesh-floor", "floor.bpf.o")];

/// Builds all objects into `<target>/bpf/`.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::find()?;
    let start = Instant::now();
    process::run(toolchain.cargo(workspace, "build").arg("--bins"))?;

    let built = workspace.target.join("ebpf").join(TARGET).join("bpf");
    let objects = workspace.bpf_objects();
    fs::create_dir_all(&objects).with_context(|| format!("cannot create {}", objects.display()))?;
    for (binary, object) in OBJECTS {
        let to = objects.join(object);
        let (bytes, news) = copy_if_changed(&built.join(binary), &to)?;
        let news = if news { "new" } else { "unchanged" };
        ui::step("build-ebpf", format_args!("{} {} {news}", to.display(), ui::size(bytes)));
    }
    let (compiler, elapsed) = (toolchain.compiler().describe(), ui::duration(start.elapsed()));
    ui::step("build-ebpf", format_args!("done in {elapsed} with {compiler}"));
    Ok(())
}

/// Leaves an equal file alone: a new modification time would rebuild the agent for nothing.
/// Returns the size in bytes, and whether it wrote.
fn copy_if_changed(from: &Path, to: &Path) -> Result<(usize, bool)> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok((new.len(), false));
    }
    // A rename is atomic: a build that runs beside this one never reads half an object.
    let half = to.with_extension("tmp");
    fs::write(&half, &new).with_context(|| format!("cannot write {}", half.display()))?;
    fs::rename(&half, to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok((new.len(), true))
}
