# Writes the bytes of IN as a C array to OUT: cmake -DIN=std.sn -DOUT=std_source.c -P embed.cmake
file(READ ${IN} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n"
       bytes "${bytes}")
file(WRITE ${OUT} "#include \"frontend/parse.h\"\n"
     "const char std_source[] = {\n${bytes}0};\n"
     "const size_t std_source_size = sizeof std_source - 1;\n")
