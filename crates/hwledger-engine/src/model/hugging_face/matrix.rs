//! Matrices: found by name, stacked where experts lie apart, packed.

use hwledger_core::ElementType;
use hwledger_kernels::{PackedWeight, Pool, Shape};

use crate::error::LoadError;
use crate::model::tensors::{AffineMatrix, StoredMatrix};

use super::names::OurName;
use super::{HuggingFaceTensors, Module, Stored, reversed};

/// Numbers as the packing takes them.
type Numbers = (ElementType, Vec<u8>);

impl HuggingFaceTensors {
    /// A repacked matrix of the given columns and rows (and stacked copies), which must be there.
    pub(in crate::model) fn matrix(&self, name: &str, shape: Shape, pool: &Pool) -> Result<PackedWeight, LoadError> {
        let missing = || LoadError::MissingTensor(name.to_owned());
        let ours = OurName::parse(name).ok_or_else(missing)?;
        let (element_type, bytes) = if let Some(module) = self.interleaved(ours) {
            self.interleaved_matrix(&module, ours, shape)?
        } else {
            match self.module(ours).ok_or_else(missing)? {
                Module::PerExpert(pattern) => self.stacked(&pattern, shape)?,
                Module::One(module) if self.tensors.contains_key(&format!("{module}.scales")) => {
                    return PackedWeight::pack_affine(&self.affine(&module, shape)?.tensor(), shape, pool)
                        .map_err(|source| LoadError::Pack { name: format!("{module}.weight"), source });
                }
                Module::One(module) => self.plain(&module, shape)?,
            }
        };
        PackedWeight::pack(element_type, shape, &bytes, pool)
            .map_err(|source| LoadError::Pack { name: name.to_owned(), source })
    }

    /// A matrix as the file holds it, which must be there.
    pub(in crate::model) fn stored_matrix(&self, name: &str, shape: Shape) -> Result<StoredMatrix, LoadError> {
        match OurName::parse(name).and_then(|name| self.module(name)) {
            Some(Module::One(module)) if self.tensors.contains_key(&format!("{module}.scales")) => {
                Ok(StoredMatrix::Affine(self.affine(&module, shape)?))
            }
            Some(Module::One(module)) => {
                let (element_type, bytes) = self.plain(&module, shape)?;
                Ok(StoredMatrix::Plain(element_type, bytes))
            }
            _ => Err(LoadError::MissingTensor(name.to_owned())),
        }
    }

    /// The matrices of all experts, one after the other.
    fn stacked(&self, pattern: &str, shape: Shape) -> Result<Numbers, LoadError> {
        let one = Shape::matrix(shape.rows, shape.columns);
        let (element_type, mut all) = self.plain(&pattern.replace('*', "0"), one)?;
        all.reserve_exact(all.len() * shape.copies.saturating_sub(1));
        for expert in 1..shape.copies {
            let module = pattern.replace('*', &expert.to_string());
            let (own, bytes) = self.plain(&module, one)?;
            if own != element_type {
                return Err(LoadError::Unsupported(format!("experts of different types (`{module}.weight`)")));
            }
            all.extend(bytes);
        }
        Ok((element_type, all))
    }

    /// A module's weight as it is; FP8 as bfloat16.
    fn plain(&self, module: &str, shape: Shape) -> Result<Numbers, LoadError> {
        let name = self.part(module, "weight").ok_or_else(|| LoadError::MissingTensor(format!("{module}.weight")))?;
        let stored = self.stored(&name)?;
        check_shape(stored, shape, shape.columns)?;
        match stored.info.element_type {
            kind @ (ElementType::F32 | ElementType::F16 | ElementType::BF16) => Ok((kind, self.read(stored)?)),
            ElementType::Fp8 if shape.copies == 1 => {
                Ok((ElementType::BF16, self.fp8(module, stored, [shape.rows, shape.columns])?))
            }
            _ => Err(LoadError::Unsupported(format!("tensors of the type {} (`{name}`)", stored.info.dtype))),
        }
    }

    /// A matrix of MLX: `weight` in words of 32 bits, `scales` and `biases` per group of columns.
    fn affine(&self, module: &str, shape: Shape) -> Result<AffineMatrix, LoadError> {
        let name = format!("{module}.weight");
        let [weight, scales, biases] =
            [name.clone(), format!("{module}.scales"), format!("{module}.biases")].map(|name| self.stored(&name));
        let (weight, scales, biases) = (weight?, scales?, biases?);
        let extent = |stored: &Stored| {
            stored.info.shape.last().and_then(|&extent| usize::try_from(extent).ok()).filter(|&extent| extent > 0)
        };
        let (words, groups) = (extent(weight).unwrap_or(1), extent(scales).unwrap_or(1));
        check_shape(weight, shape, words)?;
        check_shape(scales, shape, groups)?;
        check_shape(biases, shape, groups)?;
        let is_whole = (words.saturating_mul(32)).is_multiple_of(shape.columns) && shape.columns.is_multiple_of(groups);
        let scale_type = scales.info.element_type;
        if !is_whole || &*weight.info.dtype != "U32" || biases.info.element_type != scale_type {
            return Err(LoadError::Unsupported(format!("weights that are packed in this way (`{name}`)")));
        }
        Ok(AffineMatrix {
            bits: words * 32 / shape.columns,
            group: shape.columns / groups,
            scale_type,
            numbers: self.read(weight)?,
            scales: self.read(scales)?,
            biases: self.read(biases)?,
        })
    }
}

/// Refuses a tensor that has not the shape, with `columns` stored per row.
pub(super) fn check_shape(stored: &Stored, shape: Shape, columns: usize) -> Result<(), LoadError> {
    let all = [shape.copies as u64, shape.rows as u64, columns as u64];
    let expected = if shape.copies == 1 { &all[1..] } else { &all[..] };
    if *stored.info.shape == *expected {
        return Ok(());
    }
    Err(LoadError::Shape {
        name: stored.info.name.clone(),
        found: reversed(&stored.info.shape),
        expected: reversed(expected),
    })
}
