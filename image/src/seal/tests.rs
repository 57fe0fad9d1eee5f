use super::*;

fn key(byte: u8) -> DataKey {
    DataKey::from_bytes([byte; 32])
}

fn sealed(seal: &Seal, content: &[u8], plain: &Digest) -> Vec<u8> {
    let mut bytes = content.to_vec();
    seal.seal_frame(&mut bytes, plain, 4096);
    assert_eq!(bytes.len(), content.len() + OVERHEAD_BYTES as usize);
    bytes
}

#[test]
fn what_is_sealed_opens_in_its_place_and_nowhere_else() {
    let content = b"Nobody is to read this.".repeat(9);
    let (plain, other) = (Digest::of(b"plain"), Digest::of(b"other"));
    for algorithm in Algorithm::ALL {
        let seal = Seal::new(&key(7), algorithm);
        let good = sealed(&seal, &content, &plain);
        assert!(!good.windows(6).any(|bytes| bytes == b"Nobody"));
        assert_eq!(
            seal.open_frame(&mut good.clone(), &plain, 4096).unwrap(),
            content.as_slice()
        );
        // Another chunk, another length, another kind of part, another key, another algorithm.
        assert!(seal.open_frame(&mut good.clone(), &other, 4096).is_err());
        assert!(seal.open_frame(&mut good.clone(), &plain, 4095).is_err());
        assert!(seal.open(&mut good.clone(), Part::Index).is_err());
        assert!(seal.open(&mut good.clone(), Part::Manifest).is_err());
        let strange = Seal::new(&key(8), algorithm);
        assert!(strange.open_frame(&mut good.clone(), &plain, 4096).is_err());
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let other = Seal::new(&key(7), other);
            assert!(other.open_frame(&mut good.clone(), &plain, 4096).is_err());
        }
    }
}

#[test]
fn no_bit_can_be_changed_and_no_byte_left_out() {
    let plain = Digest::of(b"plain");
    for algorithm in Algorithm::ALL {
        let seal = Seal::new(&key(7), algorithm);
        let good = sealed(&seal, b"content", &plain);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                seal.open_frame(&mut bad, &plain, 4096),
                Err(OpenError),
                "bit {bit}"
            );
        }
        for len in 0..good.len() {
            let mut bad = good[..len].to_vec();
            assert!(seal.open_frame(&mut bad, &plain, 4096).is_err(), "{len} bytes");
        }
    }
}

#[test]
fn the_same_frame_is_never_sealed_twice_in_the_same_way() {
    let seal = Seal::new(&key(7), Algorithm::Aes256Gcm);
    let plain = Digest::of(b"plain");
    let nonces: std::collections::HashSet<Vec<u8>> = (0..1000)
        .map(|_| sealed(&seal, b"content", &plain)[7 + 16..].to_vec())
        .collect();
    assert_eq!(nonces.len(), 1000);
}

#[test]
fn a_key_is_named_and_never_shown() {
    let secret = key(0xA7);
    let text = "a7".repeat(32);
    assert_eq!(text.parse::<DataKey>().unwrap().id(), secret.id());
    assert_eq!(format!(" {text}\n").parse::<DataKey>().unwrap().id(), secret.id());
    assert_ne!(secret.id(), key(0xA8).id());
    assert_eq!(secret.id().to_string().parse::<KeyId>().unwrap(), secret.id());
    let seal = Seal::new(&secret, Algorithm::default());
    for shown in [
        format!("{secret:?}"),
        format!("{seal:?}"),
        format!("{:#?}", Some(&seal)),
        secret.id().to_string(),
    ] {
        assert!(!shown.contains("a7a7") && !shown.contains("167, 167"), "{shown}");
        assert!(shown.contains(&secret.id().to_string()), "{shown}");
    }
    for bad in ["", "a7", &"g7".repeat(32), &"a7".repeat(33)] {
        let error = bad.parse::<DataKey>().unwrap_err();
        assert!(!error.to_string().contains("a7"), "{error}");
    }
    assert!(DataKey::try_from(&[0; 31][..]).is_err());
    assert_ne!(DataKey::generate().id(), DataKey::generate().id());
}

#[test]
fn algorithms_have_names() {
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
    }
    assert!("AES".parse::<Algorithm>().is_err());
}

#[test]
fn a_wrapped_key_is_unwrapped_with_its_wrapper_and_context_only() {
    let (wrapper, data) = (Seal::new(&key(1), Algorithm::default()), key(2));
    let wrapped = wrapper.wrap(&data, b"manifest 1");
    assert_eq!(wrapped.len(), 60);
    assert_ne!(
        wrapped,
        wrapper.wrap(&data, b"manifest 1"),
        "a nonce is used once"
    );
    assert!(!wrapped.windows(4).any(|bytes| bytes == [2; 4]));
    assert_eq!(wrapper.unwrap(&wrapped, b"manifest 1").unwrap().id(), data.id());
    assert!(wrapper.unwrap(&wrapped, b"manifest 2").is_err());
    assert!(wrapper.unwrap(&wrapped[1..], b"manifest 1").is_err());
    assert!(wrapper.unwrap(&[], b"manifest 1").is_err());
    let strange = Seal::new(&key(3), Algorithm::default());
    assert!(strange.unwrap(&wrapped, b"manifest 1").is_err());
}
