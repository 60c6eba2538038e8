//! How fast one process gets a port and gives it back, with criterion: to compare two states of the
//! code on one machine. `cargo xtask bench ports` compares with what the system allows.

// What the macros of criterion make has no documentation.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::time::Duration;

use anyhow::Result;
use criterion::{Criterion, criterion_group, criterion_main};
use portolan_benches::{Family, HELD, Host, MEASURED, bound, wish};
use portolan_port_allocator::{Depth, PortAllocator, PortAllocatorConfig, PortLease};

fn raw(criterion: &mut Criterion) {
    for (name, family) in [("raw/[::]", Family::Dual), ("raw/0.0.0.0", Family::V4)] {
        let bind = || bound(family, MEASURED.start()).expect("a socket");
        criterion.bench_function(name, |bencher| bencher.iter(|| drop(bind())));
    }
}

fn allocate(criterion: &mut Criterion) {
    let host = Host::new().expect("a host");
    for depth in [Depth::Guarded, Depth::Bound, Depth::Claimed] {
        bench(criterion, &format!("allocate/{depth}"), host.config(MEASURED), depth);
    }
    bench(criterion, "allocate/guarded, sticky off", host.forgetful(MEASURED), Depth::Guarded);
    let _leases = leases(&host.config(HELD), 10_000).expect("ten thousand leases");
    bench(criterion, "allocate/guarded beside 10000", host.config(MEASURED), Depth::Guarded);
}

fn bench(criterion: &mut Criterion, name: &str, config: PortAllocatorConfig, depth: Depth) {
    let allocator = PortAllocator::new(config).expect("an allocator");
    let request = wish("service", depth).expect("a wish");
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| drop(allocator.request(request.clone()).expect("a port")));
    });
}

fn leases(config: &PortAllocatorConfig, count: usize) -> Result<Vec<PortLease>> {
    let allocator = PortAllocator::new(config.clone())?;
    let lease = |index| Ok(allocator.request(wish(&format!("held-{index}"), Depth::Guarded)?)?);
    (0..count).map(lease).collect()
}

fn briefly() -> Criterion {
    let (warm_up, time) = (Duration::from_millis(300), Duration::from_secs(1));
    Criterion::default().warm_up_time(warm_up).measurement_time(time).sample_size(20)
}

criterion_group! { name = ports; config = briefly(); targets = raw, allocate }
criterion_main!(ports);
