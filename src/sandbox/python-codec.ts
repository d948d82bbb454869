/**
 * Python that carries plain values between two interpreters as JSON text: None, booleans, integers
 * of any size, floats, texts, bytes, lists, tuples, dictionaries, sets. Anything else is no value
 * that a test may compare, so that an object which says it equals everything never arrives.
 */
export const PYTHON_CODEC = `
def _codec():
    import json, sys, base64, math
    sys.set_int_max_str_digits(0)
    dumps, loads = json.dumps, json.loads
    b64encode, b64decode = base64.b64encode, base64.b64decode
    typed, isa, name_of = type, isinstance, lambda value: type(value).__name__

    def encode(value, depth=0):
        if depth > 100:
            raise TypeError("a value of more than 100 levels")
        if value is None or value is True or value is False:
            return value
        if isa(value, int):
            return int.__int__(value)
        if isa(value, float):
            return {"f": float.hex(value)}
        if isa(value, str):
            return str.__str__(value)
        if isa(value, (bytes, bytearray)):
            return {"b": b64encode(bytes(value)).decode()}
        if isa(value, complex):
            return {"c": [float.hex(complex.real.__get__(value)), float.hex(complex.imag.__get__(value))]}
        if isa(value, list):
            return [encode(list.__getitem__(value, i), depth + 1) for i in range(list.__len__(value))]
        if isa(value, tuple):
            return {"t": [encode(one, depth + 1) for one in tuple.__iter__(value)]}
        if isa(value, dict):
            return {"d": [[encode(k, depth + 1), encode(dict.__getitem__(value, k), depth + 1)] for k in dict.__iter__(value)]}
        if isa(value, set):
            return {"s": [encode(one, depth + 1) for one in set.__iter__(value)]}
        if isa(value, frozenset):
            return {"z": [encode(one, depth + 1) for one in frozenset.__iter__(value)]}
        raise TypeError("a value of the type " + name_of(value) + ", which is no plain value")

    def decode(value):
        if typed(value) is list:
            return [decode(one) for one in value]
        if typed(value) is not dict:
            return value
        ((kind, inner),) = value.items()
        if kind == "f": return float.fromhex(inner)
        if kind == "b": return b64decode(inner)
        if kind == "c": return complex(*map(float.fromhex, inner))
        if kind == "t": return tuple(map(decode, inner))
        if kind == "d": return {decode(k): decode(v) for k, v in inner}
        if kind == "s": return set(map(decode, inner))
        if kind == "z": return frozenset(map(decode, inner))
        raise TypeError("no value: " + kind)

    return (lambda value: dumps(encode(value)), lambda text: decode(loads(text)))
`
