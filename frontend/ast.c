// The words and the equality of syntax trees (frontend/ast.h).
//
// Equality ignores locations and parentheses: it is what `sinter fmt` must preserve, and what tests
// compare. Symbols are compared by id, so both trees come from one SymTab. Linear; recursion is
// bounded by AST_MAX_DEPTH and AST_MAX_BODIES.
#include "frontend/ast.h"
#include <string.h>

const char *ast_binary_name(BinaryOp op) {
    switch (op) {
    case BIN_or: return "or";
    case BIN_and: return "and";
    case BIN_lt: return "<";
    case BIN_le: return "<=";
    case BIN_eq: return "==";
    case BIN_ne: return "!=";
    case BIN_ge: return ">=";
    case BIN_gt: return ">";
    case BIN_add: return "+";
    case BIN_sub: return "-";
    case BIN_mul: return "*";
    case BIN_div: return "/";
    case BIN_idiv: return "//";
    case BIN_mod: return "%";
    case BIN_pow: return "^";
    }
    unreachable(op);
}

const char *ast_func_name(FuncKind kind) {
    switch (kind) {
    case FUNC_fn: return "fn";
    case FUNC_block: return "block";
    case FUNC_model: return "model";
    }
    unreachable(kind);
}

const char *ast_stmt_name(StmtKind kind) {
    switch (kind) {
    case S_axis: return "axis";
    case S_param: return "param";
    case S_state: return "state";
    case S_assign: return "definition";
    case S_loss: return "loss";
    case S_metric: return "metric";
    case S_output: return "output";
    case S_return: return "return";
    case S_repeat: return "repeat";
    case S_if: return "if";
    }
    unreachable(kind);
}

// Both lists have the same length and equal items.
#define SAME_LIST(a, b, same) ((a).n == (b).n) && all_##same((a).at, (b).at, (a).n)
#define DEFINE_ALL(T, same)                                                                        \
    static bool all_##same(T const *a, T const *b, uint32_t n) {                                   \
        for (uint32_t i = 0; i < n; i++)                                                           \
            if (!same(&a[i], &b[i])) return false;                                                 \
        return true;                                                                               \
    }

static bool same_ax(const Ax *a, const Ax *b) { return a->name == b->name && a->pack == b->pack; }
DEFINE_ALL(Ax, same_ax)

static bool same_prod(const Prod *a, const Prod *b) {
    return a->one == b->one && SAME_LIST(a->factors, b->factors, same_ax);
}
DEFINE_ALL(Prod, same_prod)

static bool same_sum(const Sum *a, const Sum *b) {
    return SAME_LIST(a->parts, b->parts, same_prod);
}
DEFINE_ALL(Sum, same_sum)

static bool same_dims(const Dims *a, const Dims *b) {
    return a->given == b->given && a->arrow == b->arrow && SAME_LIST(a->each, b->each, same_ax) &&
           SAME_LIST(a->in, b->in, same_ax) && SAME_LIST(a->out, b->out, same_ax);
}

static bool same_expr(const Expr *a, const Expr *b);
static bool same_expr_at(Expr *const *a, Expr *const *b) { return same_expr(*a, *b); }
DEFINE_ALL(Expr *, same_expr_at)

static bool same_arg(const CallArg *a, const CallArg *b) {
    return a->name == b->name && same_expr(a->value, b->value);
}
DEFINE_ALL(CallArg, same_arg)

static bool same_view(const AstView *a, const AstView *b) {
    return a->kind == b->kind && same_sum(&a->from, &b->from) && same_sum(&a->to, &b->to) &&
           same_ax(&a->axis, &b->axis) && same_expr(a->index, b->index) &&
           same_expr(a->outside, b->outside);
}
DEFINE_ALL(AstView, same_view)

static bool same_call(const Expr *a, const Expr *b) {
    return a->call.qualifier == b->call.qualifier && a->call.name == b->call.name &&
           a->call.has_axes == b->call.has_axes && a->call.arrow == b->call.arrow &&
           a->call.has_args == b->call.has_args && a->call.label == b->call.label &&
           a->call.shared == b->call.shared && SAME_LIST(a->call.axes, b->call.axes, same_ax) &&
           a->call.left == b->call.left && SAME_LIST(a->call.args, b->call.args, same_arg);
}

static bool same_expr(const Expr *a, const Expr *b) {
    if (!a || !b) return a == b;
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case E_number: return a->number.text == b->number.text;
    case E_string:
        return a->string.size == b->string.size &&
               !memcmp(a->string.text, b->string.text, a->string.size);
    case E_name: return a->name.qualifier == b->name.qualifier && a->name.name == b->name.name;
    case E_call: return same_call(a, b);
    case E_tuple: return SAME_LIST(a->tuple, b->tuple, same_expr_at);
    case E_view:
        return same_expr(a->view.base, b->view.base) &&
               SAME_LIST(a->view.items, b->view.items, same_view);
    case E_unary: return a->unary.op == b->unary.op && same_expr(a->unary.x, b->unary.x);
    case E_binary:
        return a->binary.op == b->binary.op && a->binary.outer == b->binary.outer &&
               same_expr(a->binary.a, b->binary.a) && same_expr(a->binary.b, b->binary.b);
    case E_contract:
        return SAME_LIST(a->contract.axes, b->contract.axes, same_ax) &&
               same_expr(a->contract.a, b->contract.a) && same_expr(a->contract.b, b->contract.b);
    case E_if:
        return same_expr(a->cond.cond, b->cond.cond) && same_expr(a->cond.yes, b->cond.yes) &&
               same_expr(a->cond.no, b->cond.no);
    }
    unreachable(a->kind);
}

static bool same_axis(const AxisDecl *a, const AxisDecl *b) {
    return a->name == b->name && same_expr(a->extent, b->extent) && same_ax(&a->pack, &b->pack);
}
DEFINE_ALL(AxisDecl, same_axis)

static bool same_decl(const Decl *a, const Decl *b) {
    return a->name == b->name && same_dims(&a->dims, &b->dims) && same_expr(a->init, b->init);
}
DEFINE_ALL(Decl, same_decl)

static bool same_target(const AstTarget *a, const AstTarget *b) {
    return a->kind == b->kind && a->name == b->name && SAME_LIST(a->axes, b->axes, same_ax) &&
           same_ax(&a->axis, &b->axis) && same_expr(a->index, b->index);
}
DEFINE_ALL(AstTarget, same_target)

static bool same_stmt(Stmt *const *a, Stmt *const *b);
DEFINE_ALL(Stmt *, same_stmt)

static bool same_repeat(const Stmt *a, const Stmt *b) {
    return same_expr(a->repeat.count, b->repeat.count) && a->repeat.label == b->repeat.label &&
           a->repeat.shared == b->repeat.shared && a->repeat.at == b->repeat.at &&
           SAME_LIST(a->repeat.body, b->repeat.body, same_stmt);
}

static bool same_branch(const Stmt *a, const Stmt *b) {
    return same_expr(a->branch.test, b->branch.test) && a->branch.has_else == b->branch.has_else &&
           SAME_LIST(a->branch.yes, b->branch.yes, same_stmt) &&
           SAME_LIST(a->branch.no, b->branch.no, same_stmt);
}

static bool same_stmt(Stmt *const *pa, Stmt *const *pb) {
    const Stmt *a = *pa, *b = *pb;
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case S_axis: return SAME_LIST(a->axes, b->axes, same_axis);
    case S_param:
    case S_state: return SAME_LIST(a->decls, b->decls, same_decl);
    case S_assign:
    case S_loss:
    case S_metric:
    case S_output:
        return SAME_LIST(a->assign.targets, b->assign.targets, same_target) &&
               same_expr(a->assign.value, b->assign.value);
    case S_return: return same_expr(a->result, b->result);
    case S_repeat: return same_repeat(a, b);
    case S_if: return same_branch(a, b);
    }
    unreachable(a->kind);
}

static bool same_param(const Arg *a, const Arg *b) {
    return a->name == b->name && a->kind == b->kind && same_dims(&a->dims, &b->dims) &&
           same_expr(a->init, b->init);
}
DEFINE_ALL(Arg, same_param)

static bool same_func(const AstFunc *a, const AstFunc *b) {
    return a->kind == b->kind && a->name == b->name && a->has_axes == b->has_axes &&
           a->short_form == b->short_form && SAME_LIST(a->axes, b->axes, same_ax) &&
           SAME_LIST(a->args, b->args, same_param) && SAME_LIST(a->body, b->body, same_stmt);
}

static bool same_bind(const Bind *a, const Bind *b) {
    return a->name == b->name && same_expr(a->value, b->value);
}
DEFINE_ALL(Bind, same_bind)

static bool same_use(const Use *a, const Use *b) {
    return !strcmp(a->path, b->path) && a->alias == b->alias &&
           SAME_LIST(a->with, b->with, same_bind);
}

static bool same_path(const Path *a, const Path *b) { return a->text == b->text; }
DEFINE_ALL(Path, same_path)

static bool same_line(PlanLine *const *pa, PlanLine *const *pb);
DEFINE_ALL(PlanLine *, same_line)

static bool same_line(PlanLine *const *pa, PlanLine *const *pb) {
    const PlanLine *a = *pa, *b = *pb;
    return a->what == b->what && a->has_paths == b->has_paths && a->is_stage == b->is_stage &&
           a->stage == b->stage && SAME_LIST(a->items, b->items, same_arg) &&
           SAME_LIST(a->paths, b->paths, same_path) && SAME_LIST(a->lines, b->lines, same_line);
}

static bool same_weight(const WeightLine *a, const WeightLine *b) {
    return SAME_LIST(a->paths, b->paths, same_path) && !strcmp(a->pattern, b->pattern) &&
           a->has_layout == b->has_layout && SAME_LIST(a->layout, b->layout, same_sum);
}
DEFINE_ALL(WeightLine, same_weight)

static bool same_item(const Item *a, const Item *b) {
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case ITEM_use: return same_use(&a->use, &b->use);
    case ITEM_axis: return SAME_LIST(a->axes, b->axes, same_axis);
    case ITEM_bind: return same_bind(&a->bind, &b->bind);
    case ITEM_func: return same_func(a->func, b->func);
    case ITEM_train: return SAME_LIST(a->train, b->train, same_line);
    case ITEM_weights:
        return a->weights.name == b->weights.name &&
               SAME_LIST(a->weights.lines, b->weights.lines, same_weight);
    }
    unreachable(a->kind);
}
DEFINE_ALL(Item, same_item)

bool ast_equal(const AstFile *a, const AstFile *b) {
    return SAME_LIST(a->items, b->items, same_item);
}
