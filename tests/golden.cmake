# Tests written in files: what runs them, and which files they run. Every test runs from the root of the
# sources, because messages name paths as they were given.

# The op matrix: exact interpreter = kernel evaluator = native code, by bits (tools/oracle.c).
file(GLOB OP_FILES CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/tests/ops/*.ir)
set(CUDA_OP_FILES ${OP_FILES}) # products of narrow operands are the CPU's alone
list(REMOVE_ITEM CUDA_OP_FILES tests/ops/contract_narrow.ir)
foreach(target sm_80 sm_89 sm_90a sm_100a sm_120)
  add_test(NAME op_matrix_${target} COMMAND oracle --emulated=${target} ${CUDA_OP_FILES}
           WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(op_matrix_${target} PROPERTIES SKIP_RETURN_CODE 77)
endforeach()
# What products of a library compute along, within a tolerance: its GELU and its sums are its own.
file(GLOB LIBRARY_FILES CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}
     ${CMAKE_SOURCE_DIR}/tests/passes/fuse/library*.ir)
add_test(NAME library_products COMMAND oracle --emulated=sm_90a --library ${LIBRARY_FILES}
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(library_products PROPERTIES SKIP_RETURN_CODE 77)
add_test(NAME op_matrix COMMAND oracle ${OP_FILES} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})

# Attention kept whole, of narrow operands, likewise: the same values as node by node.
add_test(NAME attention_types COMMAND oracle --passes=layout,recognise,chunk,fuse,schedule,bundle,memplan
         tests/passes/recognise/types.ir WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})

if(TARGET sinter)
  # RUN and CHECK lines in files (tools/check.c), a test for each folder.
  file(GLOB_RECURSE CHECK_FILES CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}
       ${CMAKE_SOURCE_DIR}/tests/passes/*.ir ${CMAKE_SOURCE_DIR}/tests/frontend/*.sn)
  set(CHECK_FOLDERS "")
  foreach(file ${CHECK_FILES})
    get_filename_component(folder ${file} DIRECTORY)
    string(REPLACE "tests/" "" folder ${folder})
    string(REPLACE "/" "_" folder ${folder})
    list(APPEND CHECK_FOLDERS ${folder})
    list(APPEND FILES_${folder} ${file})
  endforeach()
  list(REMOVE_DUPLICATES CHECK_FOLDERS)
  foreach(folder ${CHECK_FOLDERS})
    add_test(NAME check_${folder} COMMAND check $<TARGET_FILE:sinter> ${FILES_${folder}}
             WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  endforeach()

  # Messages and tables, byte for byte (tools/golden.c).
  add_executable(golden ${CMAKE_SOURCE_DIR}/tools/golden.c)
  set_target_properties(golden PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  add_test(NAME messages COMMAND golden $<TARGET_FILE:sinter> tests/diag
           WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  add_test(NAME lint COMMAND golden $<TARGET_FILE:sinter> tests/lint "check --lint"
           WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  add_test(NAME parameters COMMAND golden $<TARGET_FILE:sinter> tests/params params
           WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endif()
