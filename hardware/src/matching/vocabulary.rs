//! Names that both sides use, as numbers.

use std::collections::HashMap;

use super::{ImageNeeds, NodeFacts, image::folded};
use crate::model::Condition;

/// Every name that is compared has a number; 0 is the empty name, which is unknown.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, u32>);

impl Names {
    pub(super) fn number(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        if let Some(number) = self.0.get(name) {
            return *number;
        }
        let number = u32::try_from(self.0.len() + 1).unwrap_or(u32::MAX);
        self.0.insert(name.to_owned(), number);
        number
    }

    pub(super) fn folded(&mut self, name: &str) -> u32 {
        self.number(&folded(name))
    }
}

/// What nodes ask of images and images of nodes: few things, each one bit.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    /// Modules that some node needs.
    pub drivers: Vec<String>,
    /// Kernel arguments that some model needs.
    pub arguments: Vec<String>,
    /// Conditions that some image has.
    pub conditions: Vec<Condition>,
    driver_at: HashMap<String, usize>,
    argument_at: HashMap<String, usize>,
}

impl Vocabulary {
    pub(super) fn of(nodes: &[NodeFacts<'_>], images: &[ImageNeeds]) -> Self {
        let mut known = Self::default();
        for volume_driver in SDI_DRIVERS {
            known.driver(volume_driver);
        }
        for node in nodes {
            for driver in node.model_drivers() {
                known.driver(driver);
            }
            for disk in node.candidates() {
                for driver in node.drivers_of(disk) {
                    known.driver(&driver);
                }
            }
            for argument in node.model.iter().flat_map(|model| &model.needs.kernel_arguments) {
                known.argument(argument);
            }
        }
        for image in images {
            for condition in image.rules.requires.iter().chain(&image.rules.forbids) {
                if !known.conditions.contains(condition) {
                    known.conditions.push(condition.clone());
                }
            }
        }
        known
    }

    fn driver(&mut self, name: &str) {
        add(name, &mut self.drivers, &mut self.driver_at);
    }

    fn argument(&mut self, name: &str) {
        add(name, &mut self.arguments, &mut self.argument_at);
    }

    pub(super) fn driver_bit(&self, name: &str) -> Option<usize> {
        self.driver_at.get(name).copied()
    }

    pub(super) fn argument_bit(&self, name: &str) -> Option<usize> {
        self.argument_at.get(name).copied()
    }
}

fn add(name: &str, list: &mut Vec<String>, at: &mut HashMap<String, usize>) {
    if !at.contains_key(name) {
        at.insert(name.to_owned(), list.len());
        list.push(name.to_owned());
    }
}

/// The drivers of the devices by which SDI cards present volumes: an image needs one of them.
pub(super) const SDI_DRIVERS: [&str; 3] = ["virtio_blk", "virtio_scsi", "nvme"];
