//! Throughput of one process, with criterion: compares two states of the code on one machine. `cargo
//! xtask bench ports` compares with the system calls instead.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::time::Duration;

use anyhow::Result;
use criterion::{Criterion, criterion_group, criterion_main};
use portolan_benches::{BenchEnv, Family, HELD, MEASURED, bound, request};
use portolan_port_allocator::{Depth, PortAllocator, PortAllocatorConfig, PortLease};

fn baseline(criterion: &mut Criterion) {
    for (name, family) in [("baseline/[::]", Family::Dual), ("baseline/0.0.0.0", Family::V4)] {
        let bind = || bound(family, MEASURED.start()).expect("a socket");
        criterion.bench_function(name, |bencher| bencher.iter(|| drop(bind())));
    }
}

fn allocate(criterion: &mut Criterion) {
    let env = BenchEnv::new().expect("a env");
    for depth in [Depth::Guarded, Depth::Bound, Depth::Claimed] {
        bench(criterion, &format!("allocate/{depth}"), env.config(MEASURED), depth);
    }
    bench(criterion, "allocate/guarded, sticky off", env.not_sticky(MEASURED), Depth::Guarded);
    let _leases = leases(&env.config(HELD), 10_000).expect("ten thousand leases");
    bench(criterion, "allocate/guarded beside 10000", env.config(MEASURED), Depth::Guarded);
}

fn bench(criterion: &mut Criterion, name: &str, config: PortAllocatorConfig, depth: Depth) {
    let allocator = PortAllocator::new(config).expect("an allocator");
    let request = request("service", depth).expect("a request");
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| drop(allocator.request(request.clone()).expect("a port")));
    });
}

fn leases(config: &PortAllocatorConfig, count: usize) -> Result<Vec<PortLease>> {
    let allocator = PortAllocator::new(config.clone())?;
    let lease = |index| Ok(allocator.request(request(&format!("held-{index}"), Depth::Guarded)?)?);
    (0..count).map(lease).collect()
}

fn short_runs() -> Criterion {
    let (warm_up, time) = (Duration::from_millis(300), Duration::from_secs(1));
    Criterion::default().warm_up_time(warm_up).measurement_time(time).sample_size(20)
}

criterion_group! { name = ports; config = short_runs(); targets = baseline, allocate }
criterion_main!(ports);
