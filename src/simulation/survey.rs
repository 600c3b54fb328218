//! How the overlay stands at one moment: degrees, components, doubled and half-open connections, the tree.
//! Looks, and never steers the run; the only place where numbers need not be whole.

use serde::Serialize;

use super::{connection::EndId, world::World};

/// A connection younger than this may still be settling, in microseconds.
const SETTLED: u64 = 5_000_000;

/// Steps of the power iteration.
const STEPS: usize = 400;

/// The overlay at one moment; of nodes that are not hostile.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Overlay {
    /// Nodes that run.
    pub nodes: usize,
    /// Least number of neighbors.
    pub degree_min: usize,
    /// Mean number of neighbors.
    pub degree_mean: f64,
    /// Greatest number of neighbors.
    pub degree_max: usize,
    /// Nodes that have had fewer neighbors than they look for, for longer than 5 s.
    pub needy: usize,
    /// Pairs of nodes with more than one connection for longer than 5 s.
    pub doubled: usize,
    /// Connections that only one of two running nodes has believed in for longer than 5 s.
    pub half_open: usize,
    /// Connected components of the neighbor graph.
    pub components: usize,
    /// Nodes outside of the largest component.
    pub outside: usize,
    /// Nodes that take themselves for the root.
    pub roots: usize,
    /// Nodes whose way to the root along parents ends elsewhere or never.
    pub astray: usize,
    /// Nodes whose parents form a circle.
    pub circling: usize,
    /// Second eigenvalue of the random walk on the neighbor graph; 1 if it is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_eigenvalue: Option<f64>,
}

impl Overlay {
    /// One component, one root, and everyone's parents lead to it.
    pub fn is_whole(&self) -> bool {
        self.components == 1 && self.roots == 1 && self.astray == 0
    }
}

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// All but the eigenvalue.
    Quick,
    Full,
}

/// Neighbors of each node, sorted, each once.
struct Graph {
    neighbors: Vec<Vec<u32>>,
    /// Nodes that are looked at.
    members: Vec<u32>,
}

pub(super) fn survey(world: &World, depth: Depth) -> Overlay {
    let counts = |host: &u32| !world.nodes[*host as usize].is_hostile;
    let members: Vec<u32> = world.alive().filter(counts).collect();
    let mut overlay = Overlay {
        nodes: members.len(),
        degree_min: usize::MAX,
        ..Overlay::default()
    };
    let mut degrees = 0;
    for host in &members {
        let Some(standing) = world.standing(*host) else {
            continue;
        };
        degrees += standing.neighbors;
        overlay.degree_min = overlay.degree_min.min(standing.neighbors);
        overlay.degree_max = overlay.degree_max.max(standing.neighbors);
        let lost_at = world.nodes[*host as usize].lost_at;
        let is_needy = standing.neighbors < standing.neighbors_wanted;
        overlay.needy += usize::from(is_needy && world.now.since(lost_at) > SETTLED);
        overlay.roots += usize::from(standing.is_root);
    }
    overlay.degree_mean = degrees as f64 / members.len().max(1) as f64;
    let (graph, doubled, half_open) = graph(world, members);
    (overlay.doubled, overlay.half_open) = (doubled, half_open);
    (overlay.components, overlay.outside) = components(&graph);
    (overlay.astray, overlay.circling) = tree(world, &graph);
    if depth == Depth::Full {
        let eigenvalue = match overlay.components {
            1 => second_eigenvalue(&graph),
            _ => 1.0,
        };
        overlay.second_eigenvalue = Some(eigenvalue);
    }
    overlay
}

/// The neighbor graph: who believes in a connection to whom and is believed; and the pairs of nodes that are
/// connected twice, and the connections that one believes in alone, for long.
fn graph(world: &World, members: Vec<u32>) -> (Graph, usize, usize) {
    let mut is_member = vec![false; world.nodes.len()];
    for host in &members {
        is_member[*host as usize] = true;
    }
    // Sides that believe in each connection.
    let mut beliefs: Vec<u8> = vec![0; world.network.connections.len()];
    for host in &members {
        for end in world.members(*host) {
            let connection = &world.network.connections[end.slot as usize];
            if connection.generation == end.generation() {
                beliefs[end.slot as usize] |= 1 << end.side();
            }
        }
    }
    let mut neighbors = vec![Vec::new(); world.nodes.len()];
    let (mut lasting, mut half_open) = (Vec::new(), 0);
    for (connection, belief) in world.network.connections.iter().zip(beliefs) {
        let [a, b] = [connection.ends[0].host, connection.ends[1].host];
        if belief == 0 || !is_member[a as usize] || !is_member[b as usize] {
            continue;
        }
        let mut ends = connection.ends.iter();
        let has_lasted = ends.all(|end| world.now.since(end.since) > SETTLED);
        if belief != 0b11 {
            half_open += usize::from(has_lasted);
            continue;
        }
        neighbors[a as usize].push(b);
        neighbors[b as usize].push(a);
        if has_lasted {
            lasting.push((a.min(b), a.max(b)));
        }
    }
    for list in &mut neighbors {
        list.sort_unstable();
        list.dedup();
    }
    lasting.sort_unstable();
    let all = lasting.len();
    lasting.dedup();
    let graph = Graph { neighbors, members };
    (graph, all - lasting.len(), half_open)
}

/// How many components there are, and how many nodes are outside of the largest.
fn components(graph: &Graph) -> (usize, usize) {
    let mut is_seen = vec![false; graph.neighbors.len()];
    let (mut count, mut largest) = (0, 0);
    let mut stack = Vec::new();
    for start in &graph.members {
        if is_seen[*start as usize] {
            continue;
        }
        let mut size = 0;
        is_seen[*start as usize] = true;
        stack.push(*start);
        while let Some(node) = stack.pop() {
            size += 1;
            for neighbor in &graph.neighbors[node as usize] {
                if !is_seen[*neighbor as usize] {
                    is_seen[*neighbor as usize] = true;
                    stack.push(*neighbor);
                }
            }
        }
        count += 1;
        largest = largest.max(size);
    }
    (count, graph.members.len() - largest)
}

/// How many nodes' parents do not lead to a root, and how many are in circles.
fn tree(world: &World, graph: &Graph) -> (usize, usize) {
    #[derive(Clone, Copy, PartialEq)]
    enum Way {
        Unknown,
        Under(u32),
        Arrives,
        Astray,
    }
    let mut parents = vec![None; graph.neighbors.len()];
    let mut ways = vec![Way::Astray; graph.neighbors.len()];
    for host in &graph.members {
        let standing = world.standing(*host).unwrap_or_default();
        ways[*host as usize] = if standing.is_root {
            Way::Arrives
        } else {
            Way::Unknown
        };
        parents[*host as usize] = standing.parent.and_then(|parent| {
            let end = EndId::of_key(parent);
            let connection = world.network.connections.get(end.slot as usize)?;
            let is_current = connection.generation == end.generation();
            is_current.then(|| connection.ends[end.other().side()].host)
        });
    }
    let (mut astray, mut circling) = (0, 0);
    for start in &graph.members {
        let mut path = Vec::new();
        let mut at = *start;
        let end = loop {
            match ways[at as usize] {
                Way::Unknown => {}
                Way::Under(of) if of == *start => {
                    let place = path.iter().position(|node| *node == at);
                    circling += place.map_or(0, |place| path.len() - place);
                    break Way::Astray;
                }
                way => break way,
            }
            ways[at as usize] = Way::Under(*start);
            path.push(at);
            match parents[at as usize] {
                Some(parent) => at = parent,
                None => break Way::Astray,
            }
        };
        astray += if end == Way::Arrives { 0 } else { path.len() };
        for node in path {
            ways[node as usize] = end;
        }
    }
    (astray, circling)
}

/// By power iteration on D^-1/2 A D^-1/2, moved to positive eigenvalues, beside its known first vector.
fn second_eigenvalue(graph: &Graph) -> f64 {
    let neighbors = &graph.neighbors;
    let roots: Vec<f64> = neighbors
        .iter()
        .map(|list| (list.len() as f64).sqrt())
        .collect();
    let norm = |vector: &[f64]| vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    let first_norm = norm(&roots);
    let mut vector: Vec<f64> = (0..neighbors.len())
        .map(|number| super::chance::mixed(number as u64) as f64 / u64::MAX as f64 - 0.5)
        .zip(&roots)
        .map(|(x, root)| if *root > 0.0 { x } else { 0.0 })
        .collect();
    let mut next = vec![0.0; vector.len()];
    let mut eigenvalue = 0.0;
    for _ in 0..STEPS {
        let along: f64 = vector.iter().zip(&roots).map(|(x, root)| x * root).sum();
        let along = along / (first_norm * first_norm);
        for (x, root) in vector.iter_mut().zip(&roots) {
            *x -= along * root;
        }
        let length = norm(&vector);
        if length == 0.0 {
            return 0.0;
        }
        vector.iter_mut().for_each(|x| *x /= length);
        for (node, list) in neighbors.iter().enumerate() {
            let sum: f64 = list
                .iter()
                .map(|neighbor| vector[*neighbor as usize] / roots[*neighbor as usize])
                .sum();
            let walked = if list.is_empty() {
                0.0
            } else {
                sum / roots[node]
            };
            next[node] = (vector[node] + walked) / 2.0;
        }
        eigenvalue = 2.0 * norm(&next) - 1.0;
        std::mem::swap(&mut vector, &mut next);
    }
    eigenvalue
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(nodes: u32, hops: &[u32]) -> Graph {
        let around = |node: u32| {
            let both = hops
                .iter()
                .flat_map(|hop| [(node + hop) % nodes, (node + nodes - hop) % nodes]);
            let mut list: Vec<_> = both.collect();
            list.sort_unstable();
            list.dedup();
            list
        };
        Graph {
            neighbors: (0..nodes).map(around).collect(),
            members: (0..nodes).collect(),
        }
    }

    #[test]
    fn the_second_eigenvalue_of_a_ring_is_known() {
        let expected = (2.0 * std::f64::consts::PI / 12.0).cos();
        assert!((second_eigenvalue(&ring(12, &[1])) - expected).abs() < 1e-3);
        // Everyone with everyone: -1/(n-1).
        let all: Vec<u32> = (1..6).collect();
        let complete = second_eigenvalue(&ring(11, &all));
        assert!((complete + 0.1).abs() < 1e-3, "{complete}");
    }

    #[test]
    fn components_are_counted() {
        assert_eq!(components(&ring(9, &[1])), (1, 0));
        assert_eq!(components(&ring(9, &[3])), (3, 6));
    }
}
