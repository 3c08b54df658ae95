//! Takes the eBPF object that `cargo xtask build-ebpf` made into the agent. Without it the agent
//! builds all the same, says so, and then needs `--bpf-object`.

use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-env-changed=MESH_BPF_OBJECT");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    let beside = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../target");
    let target = env::var_os("CARGO_TARGET_DIR").map_or(beside, Into::into);
    let default = target.join("bpf/mesh.bpf.o");
    let source = env::var_os("MESH_BPF_OBJECT").map_or(default, Into::into);
    println!("cargo::rerun-if-changed={}", source.display());
    let target = Path::new(&env::var("OUT_DIR")?).join("mesh.bpf.o");
    if source.exists() {
        fs::copy(&source, target)?;
    } else {
        println!(
            "cargo::warning=no eBPF object: this mesh-agent will need --bpf-object FILE; \
             `cargo xtask build-ebpf` makes one to build in"
        );
        fs::write(target, [])?;
    }
    Ok(())
}
