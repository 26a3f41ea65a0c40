"""Random values in the formats that the detectors look for. Seeded: every run makes the same ones.

Check digits are computed here a second time, apart from the code that is judged by them.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
import uuid
from collections.abc import Callable, Sequence

ALPHABETS = {
    "alnum": string.ascii_letters + string.digits,
    "base64": string.ascii_letters + string.digits + "+/",
    "url": string.ascii_letters + string.digits + "_-",
    "hex": "0123456789abcdef",
    "upper32": string.ascii_uppercase + "234567",
    "digits": string.digits,
    "lower": string.ascii_lowercase,
}


class Values:
    """Makes values. The check digits are computed here a second time, apart from the product's own code."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - made to be told, not to be secret

    def pick(self, choices: Sequence[str]) -> str:
        return self._random.choice(choices)

    def fill(self, template: str) -> str:
        return re.sub(r"\{(\w+)(?::(\w+))?\}", self._value, template)

    def _value(self, found: re.Match[str]) -> str:
        kind, argument = found.groups()
        if kind in ALPHABETS:
            return self._letters(kind, int(argument))
        make: Callable[..., str] | None = getattr(self, f"_{kind}", None)
        if make is None:  # braces of the text itself
            return found[0]
        return make(argument) if argument else make()

    def _letters(self, kind: str, count: int) -> str:
        return "".join(self._random.choices(ALPHABETS[kind], k=count))

    def _luhn(self, start: str, length: int) -> str:
        body = start + self._letters("digits", length - len(start) - 1)
        total = 0
        for place, digit in enumerate(reversed(body)):
            double = int(digit) * 2 if place % 2 == 0 else int(digit)
            total += double // 10 + double % 10
        return body + str(-total % 10)

    def _card(self, network: str) -> str:
        return self._luhn({"4": "4", "5": "53"}[network], 16)

    def _card_spaced(self, network: str) -> str:
        return " ".join(re.findall("....", self._card(network)))

    def _card_dashed(self, network: str) -> str:
        return "-".join(re.findall("....", self._card(network)))

    def _card_wide(self) -> str:
        return self._card("4").translate({ord(digit): 0xFF10 + int(digit) for digit in string.digits})

    def _amex(self) -> str:
        number = self._luhn("37", 15)
        return f"{number[:4]} {number[4:10]} {number[10:]}"

    def _iban(self, country: str) -> str:
        body = {
            "DE": self._letters("digits", 18),
            "GB": "BARC" + self._letters("digits", 14),
            "FR": self._letters("digits", 23),
            "ES": self._letters("digits", 20),
            "NL": "INGB" + self._letters("digits", 10),
        }[country]
        number = int("".join(str(ord(letter) - 55) if letter.isalpha() else letter for letter in f"{body}{country}00"))
        return f"{country}{98 - number % 97:02d}{body}"

    def _iban_spaced(self, country: str) -> str:
        return " ".join(re.findall(".{1,4}", self._iban(country)))

    def _basic(self) -> str:
        """`user:password` as basic authentication sends it."""
        return base64.b64encode(f"svc:{self._letters('alnum', 13)}{self._letters('digits', 3)}".encode()).decode()

    def _encoded(self, size: str) -> str:
        """A word in base64."""
        return base64.b64encode(f"{self._letters('alnum', int(size))}7x".encode()).decode()

    def _ssn(self) -> str:
        area = self._random.choice("2345") + self._letters("digits", 2)
        return f"{area}-{self._random.randint(10, 98)}-{self._random.randint(2000, 9998)}"

    def _ssn_plain(self) -> str:
        return self._ssn().replace("-", "")

    def _ssn_spaced(self) -> str:
        return self._ssn().replace("-", " ")

    def _dni(self) -> str:
        number = self._random.randint(20_000_000, 79_999_999)
        return f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"

    def _nie(self) -> str:
        number = self._random.randint(2_000_000, 8_999_999)
        return f"Y{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[(10_000_000 + number) % 23]}"

    def _cpf_plain(self) -> str:
        digits = [int(digit) for digit in self._letters("digits", 9)]
        for weight in (10, 11):
            rest = sum(digit * (weight - place) for place, digit in enumerate(digits)) % 11
            digits.append(0 if rest < 2 else 11 - rest)
        return "".join(map(str, digits))

    def _cpf(self) -> str:
        plain = self._cpf_plain()
        return f"{plain[:3]}.{plain[3:6]}.{plain[6:9]}-{plain[9:]}"

    def _nir(self) -> str:
        body = f"2{self._random.randint(50, 99)}{self._random.randint(1, 12):02d}75{self._letters('digits', 6)}"
        return f"{body}{97 - int(body) % 97:02d}"

    def _nir_spaced(self) -> str:
        number = self._nir()
        return " ".join((number[0], number[1:3], number[3:5], number[5:7], number[7:10], number[10:13], number[13:]))

    def _fiscal(self) -> str:
        body = f"BNCLRA{self._random.randint(50, 99)}E{self._random.randint(41, 70)}F205"
        odd = dict(zip("0123456789", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21), strict=True))
        odd |= dict(zip(string.ascii_uppercase, (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14,
                                                 16, 10, 22, 25, 24, 23), strict=True))  # fmt: skip
        body += self._letters("digits", 0)
        total = sum(odd[letter] for letter in body[::2])
        total += sum(int(letter) if letter.isdigit() else ord(letter) - 65 for letter in body[1::2])
        return body + string.ascii_uppercase[total % 26]

    def _bsn(self) -> str:
        while True:
            digits = [int(digit) for digit in "2" + self._letters("digits", 7)]
            last = sum(digit * (9 - place) for place, digit in enumerate(digits)) % 11
            if last < 10:
                return "".join(map(str, [*digits, last]))

    def _cn_id(self) -> str:
        born = f"{self._random.randint(1950, 2005)}0{self._random.randint(1, 9)}1{self._random.randint(1, 8)}"
        body = f"110105{born}{self._letters('digits', 3)}"
        weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
        return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]

    def _weighted(self, weights: Sequence[int], modulus: int, length: int) -> tuple[str, int]:
        digits = self._letters("digits", length)
        return digits, sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True)) % modulus

    def _pesel(self) -> str:
        born = f"{self._random.randint(50, 99)}{self._random.randint(1, 12):02d}{self._random.randint(1, 28):02d}"
        body = born + self._letters("digits", 4)
        weights = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)
        return body + str(-sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 10)

    def _aadhaar(self) -> str:
        body = self._random.choice("23456789") + self._letters("digits", 10)
        return body + str(next(last for last in range(10) if _verhoeff(body + str(last))))

    def _aadhaar_spaced(self) -> str:
        number = self._aadhaar()
        return f"{number[:4]} {number[4:8]} {number[8:]}"

    def _sin(self) -> str:
        number = self._luhn(self._random.choice("1234567"), 9)
        return f"{number[:3]}-{number[3:6]}-{number[6:]}"

    def _steuer(self) -> str:
        """Ten digits of which one stands twice and one is missing, and a check digit (ISO 7064 MOD 11,10)."""
        while True:
            digits = list(string.digits)
            self._random.shuffle(digits)
            digits[self._random.randint(0, 9)] = digits[self._random.randint(0, 9)]
            if digits[0] != "0" and len(set(digits)) == 9:
                break
        product = 10
        for digit in digits:
            total = (int(digit) + product) % 10 or 10
            product = total * 2 % 11
        return "".join(digits) + str((11 - product) % 10)

    def _nino(self) -> str:
        letters, last = self.pick(("AB", "CE", "JG", "SL", "WK")), self.pick("ABCD")
        return f"{letters}{self._letters('digits', 6)}{last}"

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _png(self, size: str) -> str:
        return base64.b64encode(b"\x89PNG\r\n\x1a\n" + self._random.randbytes(int(size))).decode()

    def _jwt(self) -> str:
        head, body = (
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": self._letters("alnum", 12), "iat": 1})
        )
        return f"{head}.{body}.{self._letters('url', 43)}"


def _verhoeff(number: str) -> bool:
    """Whether the check digit is right: products in the dihedral group of order ten."""
    check = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit)
        for _ in range(place % 8):
            value = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[value]
        check = _product(check, value)
    return check == 0


def _product(one: int, two: int) -> int:
    if one < 5:
        return (one + two) % 5 if two < 5 else 5 + (one + two) % 5
    return 5 + (one - two) % 5 if two < 5 else (one - two) % 5
