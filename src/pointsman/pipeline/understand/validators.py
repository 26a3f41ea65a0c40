"""The checks that detectors.toml names. A new one is a function of a `Candidate` and a row of the table."""

from __future__ import annotations

from collections.abc import Callable

from . import checksums, contacts, credentials, hosts
from .candidate import Candidate, Validator


def _compact(text: str) -> str:
    return "".join(letter for letter in text if letter not in " -.").upper()


def _digits(check: Callable[[str], bool], *, vary: int = 3) -> Validator:
    """A checksum over the value without its separators; too few different digits are no real number."""

    def validate(found: Candidate) -> bool:
        value = _compact(found.value)
        return len(set(value)) >= vary and not checksums.sequential(value, 0.8) and check(value)

    return validate


def uk_nino(found: Candidate) -> bool:
    """Prefixes that are never issued; there is no check digit."""
    value = _compact(found.value)
    return value[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ") and not checksums.sequential(value[2:8], 0.8)


VALIDATORS: dict[str, Validator] = {
    "random": credentials.random,
    "key_like": credentials.key_like,
    "jwt": credentials.jwt,
    "password": credentials.password,
    "spoken_password": credentials.spoken_password,
    "assigned_secret": credentials.assigned_secret,
    "named_secret": credentials.named_secret,
    "encoded_credentials": credentials.encoded_credentials,
    "url_password": credentials.url_password,
    "payment_card": lambda found: checksums.payment_card(_compact(found.value)),
    "iban": _digits(checksums.iban),
    "us_ssn": _digits(checksums.us_ssn),
    "us_ssn_named": lambda found: checksums.us_ssn(_compact(found.value)),
    "es_dni": _digits(checksums.es_dni),
    "br_cpf": _digits(checksums.br_cpf),
    "uk_nino": uk_nino,
    "fr_nir": _digits(checksums.fr_nir),
    "it_codice_fiscale": _digits(checksums.it_codice_fiscale),
    "de_tax_id": _digits(checksums.de_tax_id),
    "nl_bsn": _digits(checksums.nl_bsn),
    "pl_pesel": _digits(checksums.pl_pesel),
    "in_aadhaar": _digits(checksums.in_aadhaar),
    "ca_sin": _digits(checksums.luhn),
    "cn_resident_id": _digits(checksums.cn_resident_id),
    "passport": _digits(lambda value: sum(letter.isdigit() for letter in value) >= 5, vary=5),
    "email": contacts.email,
    "phone_international": contacts.phone_international,
    "phone_us": contacts.phone_us,
    "phone_named": contacts.phone_named,
    "address": contacts.address,
    "private_ip": hosts.private_ip,
    "unique_local_ip": hosts.unique_local_ip,
    "internal_host": hosts.internal_host,
}
