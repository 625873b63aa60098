# Writes the bytes of IN to OUT as the C array NAME, which HEADER declares with NAME_size:
#   cmake -DIN=std.sn -DOUT=std_source.c -DNAME=std_source -DHEADER=frontend/parse.h -P embed.cmake
file(READ ${IN} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n"
       bytes "${bytes}")
file(WRITE ${OUT} "#include \"${HEADER}\"\n"
     "const char ${NAME}[] = {\n${bytes}0};\n"
     "const size_t ${NAME}_size = sizeof ${NAME} - 1;\n")
