"""Check digits of account and identity numbers. Every function is linear in the length of its argument."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18,
    "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24,
    "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24,
    "XK": 20,
}  # fmt: skip
"""Characters of an IBAN by country, from the SWIFT registry."""

_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_FISCAL_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16,
         10, 22, 25, 24, 23),
        strict=True,
    )
)  # fmt: skip
_VERHOEFF_PRODUCT = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_PERMUTATION = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def payment_card(digits: str) -> bool:
    """Luhn, and a prefix and length that a card network issues."""
    length, two, four = len(digits), int(digits[:2]), int(digits[:4])
    issued = (
        (digits[0] == "4" and length == 16)
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and length == 16)
        or (two in (34, 37) and length == 15)
        or ((four == 6011 or two == 65 or 644 <= four // 10 <= 649 or 3528 <= four <= 3589) and length == 16)
        or ((two in (36, 38, 39) or 300 <= four // 10 <= 305) and length == 14)
        or (two == 62 and length == 16)
    )
    return issued and luhn(digits)


def iban(text: str) -> bool:
    """ISO 13616: the country's length, and 1 modulo 97."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(letter, 36)) for letter in text[4:] + text[:4])) % 97 == 1


def us_ssn(digits: str) -> bool:
    """The ranges that the Social Security Administration never issues; there is no check digit."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def es_dni(text: str) -> bool:
    """DNI and NIE: the letter is the number modulo 23."""
    number = text[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdigit() and _DNI_LETTERS[int(number) % 23] == text[-1]


def br_cpf(digits: str) -> bool:
    """Two check digits modulo 11."""
    if len(set(digits)) == 1:
        return False
    for length in (9, 10):
        total = sum(int(digit) * (length + 1 - place) for place, digit in enumerate(digits[:length]))
        if total * 10 % 11 % 10 != int(digits[length]):
            return False
    return True


def fr_nir(text: str) -> bool:
    """The last two digits are 97 less the number modulo 97; Corsica counts 2A as 19 and 2B as 18."""
    if text[5:7] == "2A":
        text = text[:5] + "19" + text[7:]
    elif text[5:7] == "2B":
        text = text[:5] + "18" + text[7:]
    if not text.isdigit():
        return False
    month = int(text[3:5])
    return (1 <= month <= 12 or 20 <= month <= 99) and 97 - int(text[:13]) % 97 == int(text[13:])


def it_codice_fiscale(text: str) -> bool:
    """The last letter is a sum of table values modulo 26."""
    even = sum(int(letter, 36) - (10 if letter.isalpha() else 0) for letter in text[1:15:2])
    odd = sum(_FISCAL_ODD[letter] for letter in text[0:15:2])
    return chr(ord("A") + (even + odd) % 26) == text[15]


def de_tax_id(digits: str) -> bool:
    """ISO/IEC 7064 MOD 11,10; among the first ten digits one comes twice or thrice."""
    if not 8 <= len(set(digits[:10])) <= 9:
        return False
    product = 10
    for digit in digits[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def nl_bsn(digits: str) -> bool:
    """The eleven test: weights 9 to 2 and -1."""
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    total = sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))
    return total % 11 == 0 and total != 0


def pl_pesel(digits: str) -> bool:
    """Weights 1, 3, 7, 9, and a date of birth whose month carries the century."""
    weights = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)
    month, day = int(digits[2:4]) % 20, int(digits[4:6])
    total = sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))
    return total % 10 == 0 and 1 <= month <= 12 and 1 <= day <= 31


def in_aadhaar(digits: str) -> bool:
    """Verhoeff's scheme."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF_PRODUCT[check][int(_VERHOEFF_PERMUTATION[place % 8][int(digit)])])
    return check == 0


def cn_resident_id(text: str) -> bool:
    """ISO/IEC 7064 MOD 11-2, and a date of birth that exists."""
    try:
        date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(text[:17]))
    return "10X98765432"[total % 11] == text[17].upper()


def sequential(text: str, share: float = 0.5) -> bool:
    """Whether more than a share of the characters repeat or follow the one before: `1234567890`, `xxxxxxxx`."""
    steps = sum(0 <= ord(after) - ord(before) <= 1 for before, after in pairwise(text))
    return steps > share * len(text)
