"""Build the ONNX graph that resizes and crops images as Pillow and the decoder do.

ONNX's own Resize differs from Pillow by one grey level in 3 % of the values (bilinear), by dozens in some (bicubic). So
the graph holds Pillow's resampling itself (its file Resample.c): weights of 22 bits for each output row and column, two
matrix products, rounded to bytes after each. float64 holds all sums exactly, so the result is Pillow's bit for bit
where both resize the same axis first, and else differs by one or two grey levels in some values.
"""

from typing import Any

import onnx
from onnx import parser

from headstart.features.engines import OPSET
from headstart.inputs.decoding import LONGEST, PADDING, Decoder

SUPPORT = {"bilinear": 1, "bicubic": 2}  # pixels on each side that an output pixel reads, if the image keeps its size
FILTER = {
    "bilinear": "{p}w = Sub(one, {p}a)",
    "bicubic": """{p}n1 = Mul(three_halves, {p}a)
  {p}n2 = Sub({p}n1, five_halves)
  {p}n3 = Mul({p}n2, {p}a)
  {p}n4 = Mul({p}n3, {p}a)
  {p}near = Add({p}n4, one)
  {p}f1 = Sub({p}a, five)
  {p}f2 = Mul({p}f1, {p}a)
  {p}f3 = Add({p}f2, eight)
  {p}f4 = Mul({p}f3, {p}a)
  {p}f5 = Sub({p}f4, four)
  {p}far = Mul({p}f5, minus_half)
  {p}isnear = Less({p}a, one)
  {p}w = Where({p}isnear, {p}near, {p}far)""",
}
CONSTANTS = {
    "zero": 0, "half": 0.5, "one": 1, "three_halves": 1.5, "two": 2, "five_halves": 2.5, "four": 4, "five": 5,
    "eight": 8, "minus_half": -0.5, "unit": 2**22, "half_unit": 2**21, "white": 255,
}  # fmt: skip
WHOLE = {"i0": 0, "i1": 1, "i2": 2, "i8": 8, "i9": 9, "longest": LONGEST}
# The weights (out, in) of one axis; {p}size is its length, {p}new the wanted one, both int64[1].
WEIGHTS = """
  {p}size0 = Squeeze({p}size)
  {p}new0 = Squeeze({p}new)
  {p}sizef = Cast<to=11>({p}size0)
  {p}newf = Cast<to=11>({p}new0)
  {p}scale = Div({p}sizef, {p}newf)
  {p}stretch = Max({p}scale, one)
  {p}reach = Mul({p}stretch, {support})
  {p}inverse = Div(one, {p}stretch)
  {p}rows = Range(i0s, {p}new0, i1s)
  {p}rowsf = Cast<to=11>({p}rows)
  {p}rowsm = Add({p}rowsf, half)
  {p}rowsc = Mul({p}rowsm, {p}scale)
  {p}centre = Unsqueeze({p}rowsc, i1)
  {p}columns = Range(i0s, {p}size0, i1s)
  {p}x = Cast<to=11>({p}columns)
  {p}l1 = Sub({p}centre, {p}reach)
  {p}l2 = Add({p}l1, half)
  {p}l3 = Floor({p}l2)
  {p}low = Max({p}l3, zero)
  {p}h1 = Add({p}centre, {p}reach)
  {p}h2 = Add({p}h1, half)
  {p}h3 = Floor({p}h2)
  {p}high = Min({p}h3, {p}sizef)
  {p}d1 = Sub({p}x, {p}centre)
  {p}d2 = Add({p}d1, half)
  {p}d3 = Mul({p}d2, {p}inverse)
  {p}a = Abs({p}d3)
  {filter}
  {p}from = GreaterOrEqual({p}x, {p}low)
  {p}until = Less({p}x, {p}high)
  {p}ranged = And({p}from, {p}until)
  {p}within = Less({p}a, {support})
  {p}inside = And({p}ranged, {p}within)
  {p}used = Where({p}inside, {p}w, zero)
  {p}total = ReduceSum({p}used, i1)
  {p}share = Div({p}used, {p}total)
  {p}sign = Sign({p}share)
  {p}abs = Abs({p}share)
  {p}fixed1 = Mul({p}abs, unit)
  {p}fixed2 = Add({p}fixed1, half)
  {p}fixed3 = Floor({p}fixed2)
  {p}k = Mul({p}sign, {p}fixed3)
"""
BYTES = """
  {p}s1 = Add({p}sum, half_unit)
  {p}s2 = Div({p}s1, unit)
  {p}s3 = Floor({p}s2)
  {p}bytes = Clip({p}s3, zero, white)
"""
SHORT_SIDE = """
  h0 = Shape<start=1, end=2>(images)
  w0 = Shape<start=2, end=3>(images)
  least = Min(h0, w0)
  most = Mul(least, longest)
  hcut = Min(h0, most)
  wcut = Min(w0, most)
  hrest = Sub(h0, hcut)
  wrest = Sub(w0, wcut)
  hfrom = Div(hrest, i2)
  wfrom = Div(wrest, i2)
  hto = Add(hfrom, hcut)
  wto = Add(wfrom, wcut)
  begins = Concat<axis=0>(hfrom, wfrom)
  ends = Concat<axis=0>(hto, wto)
  source = Slice(images, begins, ends, axes12)
  ysize = Shape<start=1, end=2>(source)
  xsize = Shape<start=2, end=3>(source)
  shorter = Min(ysize, xsize)
"""
WHOLE_IMAGE = """
  source = Identity(images)
  ysize = Shape<start=1, end=2>(source)
  xsize = Shape<start=2, end=3>(source)
  shorter = Max(ysize, xsize)
"""
SCALED = """
  shorterf = Cast<to=11>(shorter)
  ratio = Div(sidef, shorterf)
"""
SCALED_AXIS = """
  {p}t1 = Cast<to=11>({p}size)
  {p}t2 = Mul({p}t1, ratio)
  {p}t3 = Round({p}t2)
  {p}t4 = Cast<to=7>({p}t3)
  {p}new = Max({p}t4, i1)
"""
SQUISHED = """
  ynew = Identity(side)
  xnew = Identity(side)
"""
# Pillow chooses which axis it resizes first by the sizes. It takes columns first if the image becomes shorter, and by
# clearly more than it becomes narrower, or is tall; this rule gives Pillow's order for nearly all sizes.
PRODUCTS = """
  chw = Transpose<perm=[0, 3, 1, 2]>(source)
  values = Cast<to=11>(chw)
  xkt = Transpose<perm=[1, 0]>(xk)
  yby = Mul(ysize, xnew)
  xby = Mul(xsize, ynew)
  yby8 = Mul(yby, i8)
  xby9 = Mul(xby, i9)
  clearly = Greater(yby8, xby9)
  xnew2 = Mul(xnew, i2)
  tall = GreaterOrEqual(ynew, xnew2)
  more = Or(clearly, tall)
  shortens = Less(ynew, ysize)
  decides = And(more, shortens)
  ycomesfirst = Squeeze(decides)
  both = If(ycomesfirst) <then_branch = columns () => (double[N,3,A,B] ybytes) {{
    xsum = MatMul(yk, values)
    {xbytes}
    ysum = MatMul(xbytes, xkt)
    {ybytes}
  }}, else_branch = rows () => (double[N,3,A,B] ybytes) {{
    xsum = MatMul(values, xkt)
    {xbytes}
    ysum = MatMul(yk, xbytes)
    {ybytes}
  }}>
  hwc = Transpose<perm=[0, 2, 3, 1]>(both)
  resized = Cast<to=2>(hwc)
"""
PADDED = """
  yrest = Sub(side, ynew)
  xrest = Sub(side, xnew)
  ybefore = Div(yrest, i2)
  xbefore = Div(xrest, i2)
  yafter = Sub(yrest, ybefore)
  xafter = Sub(xrest, xbefore)
  pads = Concat<axis=0>(i0, ybefore, xbefore, i0, i0, yafter, xafter, i0)
  placed = Pad(resized, pads, grey)
"""
CROPPED = """
  yl = Shape<start=1, end=2>(placed)
  xl = Shape<start=2, end=3>(placed)
  yover = Sub(yl, square)
  xover = Sub(xl, square)
  ytop = Div(yover, i2)
  xleft = Div(xover, i2)
  ybottom = Add(ytop, square)
  xright = Add(xleft, square)
  corner = Concat<axis=0>(ytop, xleft)
  opposite = Concat<axis=0>(ybottom, xright)
  squares = Slice(placed, corner, opposite, axes12)
"""


def resize_graph(decoder: Decoder, image_size: int) -> Any:
    """Return an ONNX model from "images" (N, H, W, 3) uint8 to "squares" (N, image_size, image_size, 3) uint8."""
    support = "one" if SUPPORT[decoder.interpolation] == 1 else "two"
    weights = [
        WEIGHTS.format(p=p, support=support, filter=FILTER[decoder.interpolation].format(p=p)) for p in ("x", "y")
    ]
    if decoder.resize == "squish":
        target = WHOLE_IMAGE + SQUISHED
    else:
        first = WHOLE_IMAGE if decoder.resize == "pad" else SHORT_SIDE
        target = first + SCALED + "".join(SCALED_AXIS.format(p=p) for p in ("x", "y"))
    products = PRODUCTS.format(xbytes=BYTES.format(p="x"), ybytes=BYTES.format(p="y"))
    placed = PADDED if decoder.resize == "pad" else "\n  placed = Identity(resized)\n"
    constants = [
        *(f"{name} = Constant<value = double {{{float(value)!r}}}>()" for name, value in CONSTANTS.items()),
        *(f"{name} = Constant<value_ints = [{value}]>()" for name, value in WHOLE.items()),
        f"side = Constant<value_ints = [{decoder.short_side}]>()",
        f"sidef = Constant<value = double {{{float(decoder.short_side)!r}}}>()",
        f"square = Constant<value_ints = [{image_size}]>()",
        f"grey = Constant<value = uint8 {{{PADDING}}}>()",
        "axes12 = Constant<value_ints = [1, 2]>()",
        "i0s = Constant<value_int = 0>()",
        "i1s = Constant<value_int = 1>()",
    ]
    size = f"N,{image_size},{image_size},3"
    head = f'<ir_version: 8, opset_import: ["" : {OPSET}]>\nresize (uint8[N,H,W,3] images) => (uint8[{size}] squares)'
    body = "\n  ".join(constants) + target + "".join(weights) + products + placed + CROPPED
    model = parser.parse_model(f"{head} {{\n  {body}\n}}")
    onnx.checker.check_model(model)
    return model
