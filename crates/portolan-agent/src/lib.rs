//! portolan-agent.
